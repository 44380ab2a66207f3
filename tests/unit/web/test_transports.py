"""Connections that are handed to another process, or on which another process writes."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.interfaces import SharedWriter
from oci_registry.web.transports import UNIXFileTransport


class Receiver(Protocol):
    """A protocol that keeps what arrives."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = 0

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost += 1


class Writer:
    """A writer whose work another process may do; *here*: how often it has written itself."""

    def __init__(self, transport: UNIXFileTransport) -> None:
        self.transport = transport
        self.here = 0
        self.ended = 0

    def write_now(self, _: int) -> None:
        self.here += 1
        self.transport.write_from(None)

    def ended_elsewhere(self) -> None:
        self.ended += 1
        self.transport.write_from(None)


class Transports(SynchronousTestCase):
    """A connection of a port, whose other end is here too."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.far, near = socket.socketpair()
        self.addCleanup(self.far.close)
        near.setblocking(False)
        self.far.setblocking(False)
        self.protocol = Receiver()
        self.transport = UNIXFileTransport(near, self.protocol, "", None, 0, self.reactor)  # type: ignore[no-untyped-call]
        self.protocol.makeConnection(self.transport)
        self.addCleanup(self.transport._leave)
        self.calls: list[str] = []

    def delegate(self, writer: SharedWriter) -> Any:
        self.calls.append("begin")
        return lambda: self.calls.append("recall")

    def turn(self) -> None:
        """Let the socket take something, if somebody waits for that."""
        if self.transport in self.reactor.writers:
            self.transport.doWrite()

    def test_drained(self) -> None:
        """Whenever everything has been sent, that is noticed, however it was sent."""
        self.transport.drained = lambda: self.calls.append("drained")
        self.transport.write(b"one")
        self.assertTrue(self.transport.pending)
        self.turn()
        self.transport.write_now(b"two")
        self.assertEqual(b"onetwo", self.far.recv(100))
        self.turn()
        self.assertEqual(["drained"] * 2, self.calls)
        self.assertFalse(self.transport.pending)

    def test_detached(self) -> None:
        """A detached connection is open for whoever else has it; nothing happens here any more."""
        other = self.transport.socket.dup()
        self.addCleanup(other.close)
        self.transport.detach()
        self.far.send(b"late")
        self.transport.doRead()
        self.transport.doWrite()
        self.assertEqual((b"", 0), (self.protocol.got, self.protocol.lost))
        self.reactor.advance(0)
        self.assertEqual((1, False), (self.protocol.lost, hasattr(self.transport, "socket")))
        self.assertEqual(b"late", other.recv(100))
        other.send(b"answer")
        self.assertEqual(b"answer", self.far.recv(100))

    def test_delegated(self) -> None:
        """Another process writes after all that was written before, until it returns."""
        writer = Writer(self.transport)
        self.transport.delegate = self.delegate
        self.transport.write(b"head")
        self.transport.write_from(cast(SharedWriter, writer))
        self.turn()
        self.assertEqual((["begin"], b"head"), (self.calls, self.far.recv(100)))
        self.assertNotIn(self.transport, self.reactor.writers)
        self.transport.doWrite()
        self.assertEqual((0, True), (writer.here, self.transport.pending))
        self.transport.returned()
        self.assertEqual((1, ["begin"], False), (writer.ended, self.calls, self.transport.pending))

    def test_not_delegated(self) -> None:
        """If no other process can, it is written here."""
        writer = Writer(self.transport)
        self.transport.delegate = lambda _: None
        self.transport.write_from(cast(SharedWriter, writer))
        self.turn()
        self.assertEqual((1, 0), (writer.here, writer.ended))

    def test_recalled(self) -> None:
        """Another process stops writing when nobody shall write any more, and when the client leaves."""
        for end in (lambda: self.transport.write_from(None), self.transport.abortConnection):
            self.calls.clear()
            self.transport.delegate = self.delegate
            self.transport.write_from(cast(SharedWriter, Writer(self.transport)))
            self.transport.doWrite()
            end()
            self.assertEqual(["begin", "recall"], self.calls)
