"""The admin socket in the directory of a store."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

from twisted.internet.defer import execute
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from oci_registry.admin.local import NAME
from oci_registry.admin.store_socket import AGAIN, StoreSocket
from tests.support.admin import AdminTestCase
from tests.support.daemon import reactor, running, until
from tests.support.raw import connect
from tests.support.streams import ManualThread


class Socket(AdminTestCase):
    """The socket in the directory of the store."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        ours = "store_socket" in event.get("log_namespace", "")
        if ours and event["log_level"] is not LogLevel.debug:
            self.lines.append(formatEvent(event))

    def socket(self, clock: Clock) -> StoreSocket:
        """Return the socket of a daemon that does not exist, whose thread is this one."""
        return StoreSocket(str(self.root), Factory(), reactor, clock, execute)

    @property
    def place(self) -> Path:
        return self.root / NAME

    @running
    async def test_owner_only(self) -> None:
        """Only the owner may connect; the socket goes with the daemon, and is no content."""
        await self.start()
        status = self.place.lstat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(0o600, stat.S_IMODE(status.st_mode))
        code, answer = await self.call("GET", "/status")
        self.assertEqual((200, True, 0), (code, answer["ready"], answer["objects"] or 0))
        await self.stop()
        self.assertFalse(self.place.exists())

    @running
    async def test_left_behind(self) -> None:
        """A socket that a killed daemon has left is replaced."""
        self.root.mkdir()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.place))
        self.place.chmod(0o666)
        await self.start()
        self.assertEqual(200, (await self.call("GET", "/status"))[0])
        self.assertEqual(0o600, stat.S_IMODE(self.place.lstat().st_mode))

    @running
    async def test_of_another_daemon(self) -> None:
        """A second daemon of the store leaves the socket of the first alone, also when it stops."""
        await self.start()
        inode = self.place.lstat().st_ino
        await self.start()
        self.assertIn("another daemon listens there", self.lines[-1])
        await self.stop()
        self.assertEqual(inode, self.place.lstat().st_ino)
        self.assertEqual(200, (await self.call("GET", "/status"))[0])

    @running
    async def test_taken_over(self) -> None:
        """When the first daemon stops, the second one takes over; there is one warning."""
        self.root.mkdir()
        clock = Clock()
        first, second = (self.socket(clock) for _ in range(2))
        first.start()
        second.start()
        inode = self.place.lstat().st_ino
        clock.advance(AGAIN)
        self.assertEqual(inode, self.place.lstat().st_ino)
        self.assertEqual(1, sum("another daemon" in line for line in self.lines))
        await first.stop()
        self.assertFalse(self.place.exists())
        clock.advance(AGAIN)
        self.assertTrue(self.place.exists())
        third = self.socket(clock)
        third.start()
        await third.stop()
        await second.stop()
        self.assertFalse(self.place.exists())
        self.assertEqual([], clock.getDelayedCalls())

    @running
    async def test_removed(self) -> None:
        """A socket that is removed, with or without its directory, is there again soon; a new one stays."""
        self.root.mkdir()
        clock = Clock()
        daemon = self.socket(clock)
        daemon.start()
        await self.connect()
        inode = self.place.lstat().st_ino
        clock.advance(AGAIN)
        self.assertEqual(inode, self.place.lstat().st_ino)
        self.place.unlink()
        clock.advance(AGAIN)
        await self.connect()
        shutil.rmtree(self.root)
        clock.advance(AGAIN)
        self.assertFalse(self.root.exists())
        self.root.mkdir()
        clock.advance(AGAIN)
        await self.connect()
        again = f"listening at {self.place} again: the socket was removed"
        self.assertEqual([again] * 2, self.lines)
        await daemon.stop()
        self.assertEqual([], os.listdir(self.root))
        self.assertEqual([], clock.getDelayedCalls())

    @running
    async def test_stopped_meanwhile(self) -> None:
        """A socket that is opened while the daemon stops is closed and removed."""
        self.root.mkdir()
        clock, thread = Clock(), ManualThread()
        daemon = StoreSocket(str(self.root), Factory(), reactor, clock, thread)
        daemon.start()
        self.place.unlink()
        clock.advance(AGAIN)
        await daemon.stop()
        thread.run()
        await until(lambda: not self.place.exists())
        self.assertEqual([], clock.getDelayedCalls())

    @running
    async def test_something_else(self) -> None:
        """Whatever has that name is not touched, and the daemon continues without a socket until it is gone."""
        self.root.mkdir()
        for make in (Path.touch, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")):
            make(self.place)
            clock = Clock()
            daemon = self.socket(clock)
            daemon.start()
            self.assertIn("another file is there, which is not a socket", self.lines[-1])
            count = len(self.lines)
            clock.advance(AGAIN)
            mode = self.place.lstat().st_mode
            self.assertFalse(stat.S_ISSOCK(mode))
            self.place.rmdir() if stat.S_ISDIR(mode) else self.place.unlink()
            clock.advance(AGAIN)
            await self.connect()
            await daemon.stop()
            self.assertEqual(count, len(self.lines))

    async def connect(self) -> None:
        """Connect to the socket."""
        connection = await connect(reactor, str(self.place))
        connection.leave()

    @running
    async def test_long_path(self) -> None:
        """Where the path is too long for a socket there is a warning, and clients are served."""
        self.root = self.root / ("x" * 110)
        await self.start()
        self.assertIn("at most 107 bytes", self.lines[-1])
        self.assertEqual(200, (await self.client.get("/v2/")).status)

    @running
    async def test_none(self) -> None:
        """There is none if that is wanted."""
        await self.start(admin_socket=False)
        self.assertFalse(self.place.exists())

    @running
    async def test_elsewhere(self) -> None:
        """A socket at another place may be for a group too; nothing else has its permissions."""
        place = self.root.parent / "g.sock"
        await self.start(admin_listen=(f"unix:{place}:mode=660",))
        self.assertEqual(0o660, stat.S_IMODE(place.lstat().st_mode))
        self.assertTrue(self.place.exists())
        await self.stop()
        self.assertFalse(place.exists())

    @running
    async def test_never_for_clients(self) -> None:
        """On the port for clients there is no API."""
        await self.start()
        for path in ("/api/v1/status", "/_admin/library/x/manifests/1"):
            for method in ("GET", "DELETE"):
                self.assertIn((await self.client.get(path, method)).status, (404, 405), path)
