"""Clients of a blob that is being downloaded get the same, whether it is read or sent from its file."""

from __future__ import annotations

import os
from errno import EIO, ENOSPC
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.makers import Makers
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.service import Daemon
from oci_registry.storage.drivers import page_cache
from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.web.client_watch import ClientWatchLimits
from tests.integration.test_leaving import open_files
from tests.support.daemon import PATIENT, running, until
from tests.support.disk import beyond, failing
from tests.support.fake_replies import Reply
from tests.support.raw import RawConnection
from tests.support.sending import MIB, SendingTestCase
from tests.support.streams import LIMITS

SIZE = 8 * MIB + 77
GATE = 5 * MIB
"""Where upstream waits until it is told to go on."""


class FollowingTestCase(SendingTestCase):
    """A blob whose larger part upstream has sent."""

    size = SIZE

    async def begin(self, reply: Reply | None = None, **settings: Any) -> Daemon:
        """Start the daemon, and an upstream that stops in the middle of the blob."""
        self.gate: Deferred[None] = Deferred()
        reply = reply or Reply(body=self.data)
        reply.hold, reply.hold_at = self.gate, GATE
        self.registry.script("/blobs/", reply)
        makers = Makers(
            transports=self.transports(),
            access_log=self.make_access_log,
            store_health=partial(StoreHealth, recovery=0.0),
            store_limits=PATIENT,
        )
        hosts = settings.pop("hosts", (self.registry.host,))
        upstream = self.upstream("docker.io", hosts=hosts, retries=0, body_timeout=1e6)
        daemon = await self.start(upstream, makers=makers, **settings)
        await self.limit_buffers(daemon)
        self.place: int | str = self.client._port
        return daemon

    async def ask(self, **headers: str) -> RawConnection:
        """Return a client that has asked for the blob or a part of it."""
        client = await self.connect()
        client.ask(self.path, **headers)
        return client

    async def at_gate(self) -> RawConnection:
        """Return a client that has all that upstream has sent."""
        client = await self.ask()
        await client.until_body(GATE - MIB // 2)
        return client

    def check_sent(self) -> None:
        """Bytes went past us while the blob was growing, or not, as it should be."""
        sent = sum(count for _, count in self.sent)
        if self.past and self.sends_growing():
            self.assertGreater(sent, GATE // 2)
        elif not self.past:
            self.assertEqual(0, sent)

    def sends_growing(self) -> bool:
        """Whether the volume of this test says what is in memory."""
        number = os.open(self.mktemp(), os.O_RDWR | os.O_CREAT)
        try:
            return page_cache.can_tell(number)
        finally:
            os.close(number)

    async def check(self, client: RawConnection, start: int = 0, stop: int = SIZE) -> None:
        """The client has got this part of the blob."""
        client.resume()
        await client.until_body(stop - start)
        self.assertTrue(client.body == self.data[start:stop])

    async def check_nothing_left(self, daemon: Daemon) -> None:
        """Nothing of the store is open any more."""
        await until(lambda: daemon.parts.site.connection_count() == 0)
        await self.idle()
        self.time.forward(2 * OpenFilesLimits().idle)
        await until(lambda: not open_files(self.root))


class Following(FollowingTestCase):
    """Clients that are sent what is in the growing file."""

    @running
    async def test_joining(self) -> None:
        """A client that joins at any time, for the whole or a part, slow or not, is served by one download."""
        daemon = await self.begin()
        first = await self.at_gate()
        slow = await self.stuck()
        ranges = [(0, 1), (100, MIB), (GATE - MIB, GATE + MIB), (SIZE - 5, SIZE), (GATE, SIZE)]
        clients = [
            (await self.ask(Range=f"bytes={start}-{stop - 1}"), start, stop)
            for start, stop in ranges
        ]
        whole = await self.ask()
        leaving = await self.stuck()
        leaving.leave()
        await self.check(clients[1][0], *ranges[1])
        self.check_sent()
        self.gate.callback(None)
        last = await self.ask()
        for client, start, stop in [(first, 0, SIZE), (whole, 0, SIZE), (last, 0, SIZE), *clients]:
            await self.check(client, start, stop)
            client.leave()
        await self.idle()
        await self.check(slow)
        slow.leave()
        self.assertEqual(1, self.registry.count("/blobs/"))
        await self.check_nothing_left(daemon)

    @running
    async def test_wrong_digest(self) -> None:
        """If the bytes turn out wrong at the end, a client continues with those of another host."""
        second = self.another()
        second.add_blob(self.data)
        wrong = Reply(body=self.data[:-1] + b"?")
        daemon = await self.begin(wrong, hosts=(self.registry.host, second.host))
        clients = [await self.at_gate(), await self.stuck()]
        self.gate.callback(None)
        for client in clients:
            await self.check(client)
            client.leave()
        self.assertEqual((1, 1), (self.registry.count("/blobs/"), second.count("/blobs/")))
        await self.check_nothing_left(daemon)

    @running
    async def test_wrong_bytes_that_were_sent(self) -> None:
        """A client that has received a wrong byte is closed short; another one notices nothing."""
        second = self.another()
        second.add_blob(self.data)
        wrong = Reply(body=self.data[: 4 * MIB] + b"??" + self.data[4 * MIB + 2 :])
        await self.begin(wrong, hosts=(self.registry.host, second.host))
        ahead, behind = await self.at_gate(), await self.stuck()
        self.gate.callback(None)
        await until(lambda: second.count("/blobs/") == 1)
        await self.check(behind)
        await ahead.ended()
        self.assertLess(len(ahead.body), SIZE - LIMITS.tail + 1)

    @running
    async def test_disk_that_fills_up(self) -> None:
        """When the disk is full in the middle, all clients get their bytes nevertheless."""
        daemon = await self.begin()
        with failing(self.root, write=beyond(6 * MIB, ENOSPC)):
            clients = [await self.at_gate(), await self.stuck()]
            self.gate.callback(None)
            for client in clients:
                client.resume()
            for client in clients:
                await self.check(client)
                client.leave()
            await self.idle()
        self.assertEqual(1, self.registry.count("/blobs/"))
        await self.check_nothing_left(daemon)

    @running
    async def test_file_that_cannot_be_sent(self) -> None:
        """Where sendfile fails for the growing file, it is read."""
        await self.begin()
        really = os.sendfile

        def broken(out: int, file: int, offset: int, count: int) -> int:
            if offset >= 2 * MIB:
                raise OSError(EIO, "I/O error")
            return really(out, file, offset, count)

        self.patch(os, "sendfile", broken)
        client = await self.at_gate()
        self.gate.callback(None)
        await self.check(client)

    @running
    async def test_removed(self) -> None:
        """That the growing or the new file is removed under its readers harms none of them."""
        await self.begin()
        client, slow = await self.at_gate(), await self.stuck()
        for name in self.files("transfers"):
            (self.root / name).unlink()
        self.gate.callback(None)
        await self.check(client)
        await self.check(slow)

    @running
    async def test_upstream_breaks(self) -> None:
        """When the download fails for good, clients are closed short, and what they had is right."""
        daemon = await self.begin(Reply(body=self.data, cut=GATE + MIB))
        client = await self.at_gate()
        self.gate.callback(None)
        await client.ended()
        self.assertTrue(self.data.startswith(client.body))
        self.assertLess(len(client.body), SIZE)
        await self.check_nothing_left(daemon)

    @running
    async def test_client_that_stops_reading(self) -> None:
        """A client that takes nothing is cut off; one that waits for a slow upstream is not."""
        await self.begin()
        waiting, stuck = await self.at_gate(), await self.stuck()
        for _ in range(3):
            self.time.forward(ClientWatchLimits().reading)
            await self.settled()
        await until(lambda: "the client has stopped reading" in self.log.getvalue())
        self.assertIsNone(waiting.lost)
        self.gate.callback(None)
        stuck.resume()
        await stuck.ended()
        self.assertLess(len(stuck.body), SIZE)
        await self.check(waiting)


class FollowingRead(Following):
    """Clients for which everything is read."""

    past = False


class Same(FollowingTestCase):
    """Responses on both paths."""

    async def record(self) -> tuple[list[bytes], list[str]]:
        """Return the responses to all kinds of requests, and what the access log says of them."""
        await self.begin()
        await self.at_gate()
        tag = f'"{self.digest}"'
        ranges = (
            "0-0",
            "0-",
            "5-99",
            f"{MIB}-{GATE + MIB}",
            f"-{MIB}",
            f"{SIZE}-",
            "0-0,5-6",
            "9-1",
        )
        each: list[tuple[str, dict[str, str]]] = [
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"If_None_Match": tag}),
            ("GET", {"If_Range": '"other"', "Range": "bytes=5-9"}),
            *[("GET", {"Range": f"bytes={value}"}) for value in ranges],
        ]
        clients = []
        for method, headers in each:
            client = await self.connect()
            client.ask(self.path, method, Connection="close", **headers)
            clients.append(client)
        await clients[1].ended()
        self.gate.callback(None)
        got = [await client.ended() for client in clients]
        lines = []
        for line in self.log.getvalue().splitlines():
            quoted, _, rest = line.partition('" ')
            fields = rest.split(" ")
            lines.append(" ".join([quoted.partition('"')[2], *fields[:2], *fields[3:]]))
        self.log.truncate(0)
        await self.stop()
        await self.afresh()
        return got, sorted(lines)

    @running
    async def test_same(self) -> None:
        """Status, headers, bodies, ends of connections and access log are the same."""
        sent, sent_lines = await self.record()
        self.check_sent()
        self.sent.clear()
        self.past = False
        read, read_lines = await self.record()
        self.check_sent()
        for one, other in zip(sent, read, strict=True):
            self.assertTrue(one == other, (one[:400], other[:400], len(one), len(other)))
        self.assertTrue(sent[0].endswith(self.data))
        self.assertEqual(sent_lines, read_lines)
