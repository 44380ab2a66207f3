"""Blobs from the directory, sent past us, over TCP or a UNIX socket, or read; whatever the client does."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path
from shutil import rmtree
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from tempfile import mkdtemp
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

from twisted.internet.defer import succeed
from twisted.internet.task import deferLater

from oci_registry.config.settings import Settings
from oci_registry.logs import AccessLog
from oci_registry.makers import Makers
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.service import Daemon
from oci_registry.storage.drivers import page_cache
from oci_registry.web.port import TRANSPORTS, Transports
from tests.support.daemon import PATIENT, MirrorTestCase, reactor, running, until
from tests.support.patterns import noise
from tests.support.raw import RawConnection, connect

MIB = 1024 * 1024
SIZE = 6 * MIB + 123
"""Several times what the buffers of two sockets hold, since they are kept small."""
_BUFFER = 128 * 1024


@lru_cache(1)
def _blob(size: int) -> bytes:
    """Return the bytes of the blob, made once for tests that follow each other."""
    return noise(3, size)


class SendingTestCase(MirrorTestCase):
    """A daemon that has a blob; `serve` starts it, `connect` is a client of it.

    *past*: whether bytes are expected to go past us; *unix*: over a UNIX socket.
    """

    past = True
    unix = False
    size = SIZE

    def setUp(self) -> None:
        super().setUp()
        self.data = _blob(self.size)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"
        self.log = StringIO()
        self.folders: list[str] = []
        self.sent: list[tuple[int, int]] = []
        """The socket and the number of bytes of each successful sendfile."""
        really = os.sendfile

        def sendfile(out: int, file: int, offset: int, count: int) -> int:
            done = really(out, file, offset, count)
            self.sent.append((out, done))
            return done

        self.patch(os, "sendfile", sendfile)

    @running
    async def tearDown(self) -> None:
        # Cleanups come before this, when the sockets are still there.
        await super().tearDown()
        for folder in self.folders:
            rmtree(folder)

    def transports(self) -> Transports:
        """Return what the ports are told of transports."""
        return TRANSPORTS if self.past else {}

    def make_access_log(self, settings: Settings, output: object, clock: Any) -> AccessLog:
        return AccessLog(self.log, settings.log_format, clock)

    async def serve(self, *, grace: float = 5.0, **settings: Any) -> Daemon:
        """Start the daemon, and let it store the blob."""
        listen = "tcp:0:interface=127.0.0.1"
        place = ""
        if self.unix:
            # Below the folder of the test the path might be too long for a socket.
            self.folders.append(mkdtemp())
            place = f"{self.folders[-1]}/s"
            settings["listen"] = (listen, f"unix:{place}")
        makers = Makers(
            access_log=self.make_access_log,
            transports=self.transports(),
            store_health=partial(StoreHealth, recovery=0.0),
            store_limits=PATIENT,
        )
        daemon = await self.start(
            self.upstream("docker.io", retries=0), makers=makers, grace=grace, **settings
        )
        self.place: int | str = place if self.unix else self.client._port
        await self.limit_buffers(daemon)
        got = await self.client.get(self.path)
        assert got.complete
        await self.idle()
        got.close()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        self.reset()
        return daemon

    async def limit_buffers(self, daemon: Daemon) -> None:
        """Let the kernel hold little for each connection, so that the daemon waits for slow clients."""
        for service in daemon.parts.ports:
            # Connections inherit it.
            port = await service._waitingForPort
            service._waitingForPort = succeed(port)
            port.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, _BUFFER)

    def reset(self) -> None:
        """Forget what has happened so far."""
        self.sent.clear()
        self.registry.asked.clear()
        self.log.seek(0)
        self.log.truncate()

    @property
    def file(self) -> Path:
        """The file of the blob."""
        return self.root / next(iter(self.files("blobs")))

    async def connect(self) -> RawConnection:
        """Return a new client."""
        client = await connect(reactor, self.place)
        transport: Any = client.transport
        transport.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)
        self.addCleanup(client.leave)
        return client

    async def stuck(self) -> RawConnection:
        """Return a client that has read a little of the blob, and then no more; the daemon waits for it."""
        client = await self.connect()
        client.ask(self.path)
        await client.until(300_000)
        client.pause()
        await self.settled()
        return client

    async def settled(self) -> None:
        """Wait until the daemon has filled the buffers of clients that do not read."""
        before = None
        while before != (before := (len(self.sent), self.counted)):
            for _ in range(5):
                await deferLater(reactor, 0.01)

    @property
    def counted(self) -> float:
        """How many bytes of blobs the metrics say were sent to clients."""
        registry = self.daemons[-1].parts.metrics.registry
        value = registry.get_sample_value("oci_registry_client_bytes_total", {"route": "blob"})
        return value or 0.0

    def check_past(self, least: int = 1) -> None:
        """So many bytes went past us, or none, as it should be."""
        past = sum(count for _, count in self.sent)
        if not self.past:
            self.assertEqual(0, past)
        elif self.known():
            self.assertGreaterEqual(past, least)

    def known(self) -> bool:
        """Whether the volume of this test says what is in memory."""
        number = os.open(self.file, os.O_RDONLY)
        try:
            return page_cache.can_tell(number)
        finally:
            os.close(number)

    def need_past(self) -> None:
        """Skip a test that is only about what goes past us."""
        if not (self.past and self.known()):
            raise SkipTest("nothing goes past us here")

    def only_in_memory(self, stop: int) -> Any:
        """Let the page cache end at a position."""
        really, read = page_cache.resident, os.preadv

        def resident(descriptor: int, offset: int, length: int) -> int:
            return really(descriptor, offset, max(0, min(length, stop - offset)) or 0)

        def preadv(descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
            if offset >= stop:
                raise BlockingIOError
            return read(descriptor, buffers, offset, flags)

        return patch.multiple(page_cache, resident=resident), patch.object(os, "preadv", preadv)
