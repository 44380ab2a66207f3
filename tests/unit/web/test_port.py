"""A transport to whose socket others may write: what leaves when, and what is waited for."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web import transports
from oci_registry.web.port import hide_path
from oci_registry.web.transports import FileTransport

SOCKET = 7


class FakeSocket:
    """Takes up to *room* bytes, or fails."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.room = 1 << 20
        self.error: OSError | None = None

    def setblocking(self, blocking: bool) -> None:
        """It does not block anyway."""

    def fileno(self) -> int:
        return SOCKET

    def send(self, data: bytes, flags: int = 0) -> int:
        """Take some."""
        if self.error is not None:
            raise self.error
        taken = bytes(data)[: self.room]
        self.sent.append((taken, flags))
        return len(taken)


class FakeReactor:
    """Knows who waits until a socket takes more."""

    def __init__(self) -> None:
        self.waits = False

    def addWriter(self, transport: object) -> None:
        self.waits = True

    def removeWriter(self, transport: object) -> None:
        self.waits = False

    def removeReader(self, transport: object) -> None:
        """Nobody reads here."""


class Transports(SynchronousTestCase):
    """One connection, and someone who writes to it."""

    def setUp(self) -> None:
        self.socket, self.reactor = FakeSocket(), FakeReactor()
        connection: Any = self.socket
        reactor: Any = self.reactor
        self.transport = FileTransport(connection, Protocol(), reactor)
        self.transport.connected = 1
        self.written: list[int] = []
        self.pieces = 1

    def write_now(self, socket: int) -> None:
        """Write, as a `SocketWriter`, so many pieces."""
        self.written.append(socket)
        if len(self.written) == self.pieces:
            self.transport.write_from(None)

    def test_headers_first(self) -> None:
        """What was written before leaves first, in the same turn, and the kernel waits for what follows."""
        self.transport.write(b"headers")
        self.transport.write_from(self)
        self.assertIsNone(self.transport.doWrite())
        self.assertEqual([(b"headers", transports._MORE)], self.socket.sent)
        self.assertEqual(([SOCKET], False), (self.written, self.reactor.waits))

    def test_one_piece_at_a_time(self) -> None:
        """The writer writes once for each time that the socket takes more, until it has no more."""
        self.pieces = 2
        self.transport.write_from(self)
        self.transport.doWrite()
        self.assertEqual((1, True), (len(self.written), self.reactor.waits))
        self.transport.doWrite()
        self.assertEqual((2, False), (len(self.written), self.reactor.waits))
        self.assertEqual([], self.socket.sent)

    def test_without_a_writer(self) -> None:
        """Without one it is a transport as any other."""
        self.transport.write(b"data")
        self.transport.doWrite()
        self.assertEqual(([(b"data", 0)], False), (self.socket.sent, self.reactor.waits))

    def test_socket_that_takes_little(self) -> None:
        """While not all that was written before has left, the writer waits."""
        self.socket.room = 4
        self.transport.write(b"headers")
        self.transport.write_from(self)
        self.transport.doWrite()
        self.assertEqual(([], True), (self.written, self.reactor.waits))
        self.socket.error = BlockingIOError(errno.EAGAIN, "again")
        self.assertIsNone(self.transport.doWrite())
        self.assertEqual(([], True), (self.written, self.reactor.waits))
        self.socket.error = None
        self.transport.doWrite()
        self.assertEqual(b"headers", b"".join(data for data, _ in self.socket.sent))
        self.assertEqual([SOCKET], self.written)

    def test_broken(self) -> None:
        """A connection that is lost is reported, and nobody writes."""
        self.socket.error = BrokenPipeError(errno.EPIPE, "broken pipe")
        self.transport.write(b"headers")
        self.transport.write_from(self)
        self.assertIs(CONNECTION_LOST, self.transport.doWrite())
        self.assertEqual([], self.written)

    def test_more_afterwards(self) -> None:
        """What is written when the writer has finished leaves as always."""
        self.transport.write_from(self)
        self.transport.doWrite()
        self.transport.write(b"next")
        self.transport.doWrite()
        self.assertEqual(([(b"next", 0)], False), (self.socket.sent, self.reactor.waits))

    def test_writer_that_reads_on(self) -> None:
        """If the writer ends by writing to the transport, that is waited for."""

        class Reading:
            """Writes to the transport instead."""

            def write_now(_, socket: int) -> None:  # noqa: N805
                self.transport.write_from(None)
                self.transport.write(b"read")

        self.transport.write_from(Reading())
        self.transport.doWrite()
        self.assertEqual(([], True), (self.socket.sent, self.reactor.waits))
        self.transport.doWrite()
        self.assertEqual([(b"read", 0)], self.socket.sent)

    def test_closing(self) -> None:
        """When the connection is closing, the writer is not asked any more."""
        self.transport.write(b"last")
        self.transport.write_from(self)
        self.transport.loseConnection()
        self.transport.doWrite()
        self.assertEqual([], self.written)


class Passed(SynchronousTestCase):
    """A UNIX socket that was passed, whose path Twisted has under one of two names."""

    def test_hidden(self) -> None:
        """Twisted takes its path for one outside the file system, in all versions that can be used."""
        for old in (True, False):
            port: Any = type("Port", (), {})()
            port.port = b"/run/s" if old else 0
            if not old:
                port._bindPath = b"/run/s"
            hide_path(port)
            expected = {"port": b"\0/run/s"} if old else {"port": 0, "_bindPath": b"\0/run/s"}
            self.assertEqual(expected, vars(port))
