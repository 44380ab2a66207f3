"""Ready answers on real sockets: the same bytes, log lines and metrics as without them."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from twisted.internet.task import deferLater

from tests.support.daemon import reactor, running, until
from tests.support.raw import RawConnection
from tests.support.sending import SendingTestCase

PART = 64 * 1024
MANIFEST = "/v2/library/app/manifests/1"


class Ready(SendingTestCase):
    """A daemon with ready answers, then one with ``--plain-http``."""

    def answered(self) -> list[bool]:
        """Record of each attempt whether there was a ready answer."""
        answers = self.daemons[-1].parts.site.ready
        found: list[bool] = []
        if answers is not None:
            respond = answers.respond

            def watched(data: bytes, client: str) -> tuple[bytes, bool] | None:
                got = respond(data, client)
                found.append(got is not None)
                return got

            self.patch(answers, "respond", watched)
        return found

    async def record(self, *, plain: bool) -> tuple[list[bytes], list[str], dict[str, Any], int]:
        """Return responses, log lines, counters, and how many answers were ready."""
        await self.serve(plain_http=plain)
        await self.client.get(MANIFEST)
        self.reset()
        found, got = self.answered(), []
        requests: list[tuple[str, str, dict[str, str]]] = [
            ("GET", MANIFEST, {}),
            ("HEAD", MANIFEST, {}),
            ("GET", "/v2/", {}),
            ("GET", "/healthz", {}),
            ("GET", self.path, {"Range": f"bytes=5-{PART + 4}"}),
            ("GET", self.path, {"Range": f"bytes={self.size - 9}-{self.size}"}),
            ("GET", MANIFEST, {"If_None_Match": '"x"'}),
            ("GET", f"/v2/library/app/blobs/{self.small}", {}),
            ("HEAD", f"/v2/library/app/blobs/{self.small}", {}),
        ]
        for _ in range(3):
            client = await self.connect()
            for method, path, headers in requests:
                start = len(client.got)
                client.ask(path, method, **headers)
                await until(partial(whole, client, start, method))
            client.ask(MANIFEST, Connection="close")
            got.append(re.sub(rb"; ttl=\d+", b"", await client.ended()))
        lines = [
            re.sub(r" \d\.\d{3} ", " ", line.partition('"')[2])
            for line in self.log.getvalue().splitlines()
        ]
        page = self.daemons[-1].parts.metrics.page().decode()
        counted = r"^((?:oci_registry_(?:requests|client_bytes)_total|\w+_cache_)\S*) (\S+)"
        counters = dict(re.findall(counted, page, re.MULTILINE))
        await self.stop()
        return got, lines, counters, sum(found)

    @running
    async def test_same(self) -> None:
        """Responses, access log and counters are the same."""
        _, (_, self.small) = self.registry.add_image("library/app", "1", b"layer")
        await self.record(plain=True)
        recorded = [await self.record(plain=plain) for plain in (False, True)]
        for ready, plain in zip(recorded[0][:3], recorded[1][:3], strict=True):
            # What differs may be long, and to show that takes minutes.
            self.assertTrue(plain == ready, (repr(ready)[:2000], repr(plain)[:2000]))
        self.assertEqual(0, recorded[1][3])
        self.assertGreater(recorded[0][3], 12)

    @running
    async def test_slow_reader(self) -> None:
        """A client that asks much and reads late gets everything, and the daemon reads no further meanwhile."""
        await self.serve()
        client = await self.connect()
        part = {"Range": f"bytes=0-{PART - 1}"}
        for _ in range(2):
            start = len(client.got)
            client.ask(self.path, **part)
            await until(partial(whole, client, start, "GET"))
        (channel,) = self.daemons[-1].parts.site._channels
        before, one = len(client.got), len(client.got) // 2
        client.pause()
        for _ in range(100):
            client.ask(self.path, **part)
            await deferLater(reactor, 0)
        transport: Any = channel.transport
        for _ in range(20):
            await deferLater(reactor, 0.005)
        self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, 4 * PART)
        client.resume()
        await client.until(before + 100 * one)
        self.assertEqual(before + 100 * one, len(client.got))
        self.assertEqual(102, client.got.count(b"HTTP/1.1 206 Partial Content\r\n"))

    @running
    async def test_client_that_leaves(self) -> None:
        """A client that leaves while it is answered is no error."""
        await self.serve()
        for _ in range(5):
            client = await self.connect()
            for _ in range(20):
                client.ask(self.path, Range=f"bytes=0-{PART - 1}")
                await deferLater(reactor, 0)
            client.transport.abortConnection()
        await until(lambda: self.daemons[-1].parts.site.connection_count() == 0)
        self.assertEqual([], self.flushLoggedErrors())


def whole(client: RawConnection, start: int, method: str) -> bool:
    """Whether one whole response has come since *start* bytes had."""
    head, mark, body = bytes(client.got[start:]).partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return bool(mark) and (method == "HEAD" or (length is not None and len(body) >= int(length[1])))
