"""Blobs from the directory reach clients whole, or visibly not, whether they are read or go past us."""

from __future__ import annotations

import os
from threading import Event
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater

from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.web.client_watch import ClientWatchLimits
from tests.integration.test_leaving import open_files
from tests.support.daemon import PATIENT, reactor, running, until
from tests.support.disk import failing
from tests.support.fake_replies import Reply
from tests.support.raw import RawConnection
from tests.support.sending import MIB, SIZE, SendingTestCase

CUT = 4 * MIB
"""Where files end or fail: beyond what the buffers of two sockets hold."""


class Past(SendingTestCase):
    """Over TCP, past us."""

    async def check_whole(self, client: RawConnection, requests: int = 0) -> None:
        """The client gets all bytes, for which upstream was asked so often."""
        client.resume()
        await client.until_body(self.size)
        self.assertTrue(client.body == self.data)
        self.assertEqual(requests, self.registry.count("/blobs/"))
        self.assertEqual(self.size, self.counted - self.size)

    async def line(self) -> str:
        """Return the next line of the access log."""
        await until(lambda: "\n" in self.log.getvalue())
        return self.log.getvalue()

    @running
    async def test_whole(self) -> None:
        """A whole blob arrives, is counted, and logged with its length."""
        await self.serve()
        client = await self.connect()
        client.ask(self.path)
        await self.check_whole(client)
        self.check_past(self.size - MIB)
        self.assertIn(f'" 200 {self.size} ', await self.line())

    @running
    async def test_client_that_leaves(self) -> None:
        """Of clients that leave at any moment nothing lasts."""
        daemon = await self.serve()
        for moment in (0, 1, 300_000, MIB, 3 * MIB, SIZE):
            client = await self.connect()
            client.ask(self.path)
            await client.until(moment)
            client.leave()
        client = await self.stuck()
        client.leave()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        self.assertIn("the client closed the connection during the response", await self.line())
        self.time.forward(2 * OpenFilesLimits().idle)
        await until(lambda: not open_files(self.root))
        client = await self.connect()
        client.ask(self.path)
        await client.until_body(self.size)
        self.assertTrue(client.body == self.data)
        self.check_past(MIB)

    @running
    async def test_client_that_stops_reading(self) -> None:
        """A client that reads nothing for two rounds is cut off; one that reads now and then is not."""
        await self.serve()
        client = await self.stuck()
        interval = ClientWatchLimits().reading
        for _ in range(2):
            self.time.forward(interval)
            await deferLater(reactor, 0.01)
            self.assertIsNone(client.lost)
            had = len(client.got)
            client.resume()
            await client.until(had + MIB)
            client.pause()
            await self.settled()
        for _ in range(2):
            self.time.forward(interval)
            await deferLater(reactor, 0.01)
        client.resume()
        await client.ended()
        self.assertLess(len(client.body), self.size)
        self.assertIn("the client has stopped reading", await self.line())

    @running
    async def test_truncated(self) -> None:
        """Where the file ends too early, upstream has the rest."""
        await self.serve()
        client = await self.stuck()
        os.chmod(self.file, 0o644)
        os.truncate(self.file, CUT)
        await self.check_whole(client, 1)
        self.check_past(MIB)

    @running
    async def test_truncated_without_upstream(self) -> None:
        """If upstream does not, the response ends short, as everybody can see, and so is the log."""
        await self.serve()
        client = await self.stuck()
        os.chmod(self.file, 0o644)
        os.truncate(self.file, CUT)
        self.registry.script("/blobs/", Reply(status=404))
        client.resume()
        await client.ended()
        self.assertIs(ConnectionDone, client.lost)
        self.assertTrue(client.body == self.data[:CUT])
        self.assertIn(f'" 200 {CUT} ', await self.line())
        self.assertIn(' error="BLOB_UNKNOWN: upstream ', self.log.getvalue())
        self.assertEqual(CUT, self.counted - self.size)

    @running
    async def test_deleted(self) -> None:
        """A file that is deleted meanwhile is sent to its end."""
        await self.serve()
        client = await self.stuck()
        self.file.unlink()
        await self.check_whole(client)

    @running
    async def test_read_errors(self) -> None:
        """Where the disk fails, upstream has the rest."""
        await self.serve()

        stored = self.file.stat()

        def broken(descriptor: int, *args: Any) -> None:
            # Not that of upstream's, which takes its place and from which the rest may be read.
            if os.path.samestat(os.fstat(descriptor), stored) and args[1] >= CUT - MIB:
                raise OSError(5, "I/O error")

        memory, now = self.only_in_memory(CUT)
        with memory, now, failing(self.root / "blobs", pread=broken):
            client = await self.stuck()
            await self.check_whole(client, 1)

    @running
    async def test_sendfile_fails(self) -> None:
        """An error of sendfile itself is no error of ours: the bytes are read."""
        await self.serve()
        self.need_past()
        really = os.sendfile

        def broken(out: int, file: int, offset: int, count: int) -> int:
            if offset > 3 * MIB:
                raise OSError(5, "I/O error")
            return really(out, file, offset, count)

        with patch.object(os, "sendfile", broken):
            client = await self.connect()
            client.ask(self.path)
            await self.check_whole(client)

    @running
    async def test_cold(self) -> None:
        """What is not in memory is read, in threads, and what comes after it goes past us again."""
        await self.serve()
        number = os.open(self.file, os.O_RDONLY)
        os.posix_fadvise(number, 3 * MIB, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)
        client = await self.connect()
        client.ask(self.path)
        await self.check_whole(client)
        self.check_past(2 * MIB)

    @running
    async def test_disk_that_hangs(self) -> None:
        """Where the disk hangs, others are served meanwhile, and after a while upstream has the rest."""
        await self.serve()
        gate = Event()
        self.addCleanup(gate.set)
        hanging: list[int] = []
        stored = self.file.stat()

        def hang(descriptor: int, *args: Any) -> None:
            # Not that of upstream's, which takes its place and from which the rest may be read.
            if os.path.samestat(os.fstat(descriptor), stored) and args[1] >= CUT - MIB:
                hanging.append(args[1])
                gate.wait(60)

        memory, now = self.only_in_memory(CUT)
        with memory, now, failing(self.root / "blobs", pread=hang):
            client = await self.connect()
            client.ask(self.path)
            await until(lambda: bool(hanging))
            other = await self.connect()
            other.ask("/v2/")
            await other.until(10)
            self.assertTrue(other.got.startswith(b"HTTP/1.1 200"))
            self.time.forward(PATIENT.read + 1)
            await self.check_whole(client, 1)
            gate.set()
            await self.idle()

    @running
    async def test_stopping(self) -> None:
        """A response continues while the daemon stops; then the connection is closed."""
        daemon = await self.serve(grace=50.0)
        client = await self.stuck()
        stopping = daemon.stopService()
        self.daemons.remove(daemon)
        client.resume()
        await client.ended()
        self.assertTrue(client.body == self.data)
        self.assertIs(ConnectionDone, client.lost)
        await stopping

    @running
    async def test_stopping_in_time(self) -> None:
        """It does not wait for a client that does not read."""
        daemon = await self.serve(grace=50.0)
        client = await self.stuck()
        stopping: Deferred[None] = daemon.stopService()
        self.daemons.remove(daemon)
        await until(lambda: daemon.parts.site.closing)
        self.assertFalse(stopping.called)
        self.time.forward(51)
        await stopping
        client.resume()
        await client.ended()
        self.assertLess(len(client.body), self.size)
        self.assertIn("the daemon is stopping", await self.line())

    @running
    async def test_fair(self) -> None:
        """Of many clients of one blob none is done before all have much of it."""
        await self.serve()
        clients = [await self.connect() for _ in range(6)]
        for client in clients:
            client.ask(self.path)
        await until(lambda: any(len(client.got) >= self.size for client in clients))
        self.assertGreater(min(len(client.got) for client in clients), self.size // 4)
        for client in clients:
            await client.until_body(self.size)
            self.assertTrue(client.body == self.data)
        self.check_past(5 * self.size)

    @running
    async def test_keeps_its_place(self) -> None:
        """Clients that read as they like have the same bytes in the end."""
        await self.serve()
        clients = [await self.stuck() for _ in range(4)]
        for step in range(1, 4):
            for client in clients[step:]:
                had = len(client.got)
                client.resume()
                await client.until(had + step * MIB // 2)
                client.pause()
        for client in clients:
            client.resume()
            await client.until_body(self.size)
            self.assertTrue(client.body == self.data)


class PastUNIX(Past):
    """Over a UNIX socket, past us."""

    unix = True


class Read(Past):
    """Over TCP, read."""

    past = False
