"""Connections that are read without an entry of their own in the reactor."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry.web import polling
from oci_registry.web.polling import AT_ONCE, Poller, make_poller
from oci_registry.web.transports import UNIXFileTransport


class Receiver(Protocol):
    """A protocol that keeps what arrives, and does *then* with it."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Failure] = []
        self.then: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self.then()

    def connectionLost(self, reason: Failure = Failure(ValueError())) -> None:  # noqa: B008
        self.lost.append(reason)


class Polling(SynchronousTestCase):
    """Some connections, whose other ends are here too."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.poller = Poller(self.reactor)
        self.addCleanup(self.poller._epoll.close)

    def connect(self) -> tuple[socket.socket, UNIXFileTransport, Receiver]:
        far, near = socket.socketpair()
        self.addCleanup(far.close)
        near.setblocking(False)
        protocol = Receiver()
        transport = UNIXFileTransport(near, protocol, "", None, 0, self.reactor)  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        transport.poll_with(self.poller)
        self.addCleanup(self.disconnect, transport)
        return far, transport, protocol

    def disconnect(self, transport: UNIXFileTransport) -> None:
        if transport.connected:
            type(transport).connectionLost(transport, Failure(EOFError()))

    def readers(self) -> list[Any]:
        return list(self.reactor.getReaders())

    def test_interface(self) -> None:
        """It is a reader of the reactor, while there are connections."""
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual([], self.readers())
        _, one, _ = self.connect()
        _, other, _ = self.connect()
        self.assertEqual([self.poller], self.readers())
        one.stopReading()
        one.stopReading()
        self.assertEqual([self.poller], self.readers())
        other.stopReading()
        self.assertEqual([], self.readers())
        one.startReading()
        one.startReading()
        self.assertEqual([self.poller], self.readers())

    def test_data(self) -> None:
        """What arrives is passed on; what is not read waits."""
        far, transport, protocol = self.connect()
        _, _, quiet = self.connect()
        far.send(b"one")
        self.poller.doRead()
        transport.stopReading()
        far.send(b"two")
        self.poller.doRead()
        self.assertEqual((b"one", b""), (protocol.got, quiet.got))
        transport.startReading()
        self.poller.doRead()
        self.assertEqual(b"onetwo", protocol.got)

    def test_turn(self) -> None:
        """What arrives meanwhile is read too, but not for long: then the reactor has its turn."""
        far, _, protocol = self.connect()
        protocol.then = lambda: len(protocol.got) < 5 and far.send(b"x")
        far.send(b"x")
        self.poller.doRead()
        self.assertEqual(b"xxxxx", protocol.got)
        later = iter(range(9))
        self.patch(self.poller, "_seconds", lambda: AT_ONCE * 0.6 * next(later))
        protocol.then = lambda: far.send(b"y")
        far.send(b"y")
        self.poller.doRead()
        self.assertEqual(b"xxxxxyy", protocol.got)

    def test_end(self) -> None:
        """An orderly end is one, after the last bytes."""
        far, transport, protocol = self.connect()
        far.send(b"last")
        far.shutdown(socket.SHUT_WR)
        for _ in range(3):
            if self.poller in self.readers():
                self.poller.doRead()
            # With the end the kernel reports more than data.
            elif transport in self.readers():
                why = transport.doRead()
                if why is not None:
                    transport.connectionLost(Failure(why))
        self.assertEqual(b"last", protocol.got)
        self.assertEqual(["ConnectionDone"], [each.type.__name__ for each in protocol.lost])
        self.assertEqual([], self.readers())

    def test_more_than_data(self) -> None:
        """A connection with which something is wrong is read by the reactor."""
        far, transport, _ = self.connect()
        far.close()
        self.poller.doRead()
        self.assertEqual([transport], self.readers())
        transport.stopReading()
        transport.startReading()
        self.assertEqual([transport], self.readers())

    def test_closed_by_another(self) -> None:
        """A connection that another one closes in the same moment is not read."""
        ends = [self.connect() for _ in range(2)]

        def close_others() -> None:
            for _, transport, protocol in ends:
                if not protocol.got:
                    transport.connectionLost(Failure(EOFError()))

        for far, _, protocol in ends:
            protocol.then = close_others
            far.send(b"data")
        self.poller.doRead()
        self.assertEqual([0, 4], sorted(len(protocol.got) for _, _, protocol in ends))
        self.assertEqual([0, 1], sorted(len(protocol.lost) for _, _, protocol in ends))

    def test_failure(self) -> None:
        """A connection whose protocol fails is lost, and logged; others are not affected."""
        far, transport, protocol = self.connect()
        other, _, quiet = self.connect()

        def fail() -> None:
            raise ZeroDivisionError

        protocol.then = fail
        for each in (far, other):
            each.send(b"data")
        self.poller.doRead()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([ZeroDivisionError], [each.type for each in protocol.lost])
        self.assertEqual((b"data", []), (quiet.got, quiet.lost))
        self.assertFalse(transport.connected)

    def test_reactor_stops(self) -> None:
        """All connections are lost with the reactor."""
        protocols = [self.connect()[2] for _ in range(2)]
        self.poller.connectionLost(Failure(EOFError()))
        self.assertEqual([1, 1], [len(protocol.lost) for protocol in protocols])
        self.assertEqual([], self.readers())

    def broken(self, name: str) -> tuple[socket.socket, UNIXFileTransport, Receiver]:
        """Connect one whose method *name* fails."""
        far, transport, protocol = self.connect()

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        self.patch(transport, name, fail)
        return far, transport, protocol

    def test_failures_at_the_end(self) -> None:
        """Connections that fail while they end are logged, and the others are read as before."""
        for name in ("connectionLost", "readConnectionLost", "stop_polling"):
            far, transport, _ = self.broken(name)
            other, _, quiet = self.connect()
            if name == "stop_polling":
                far.close()
            else:
                why = ConnectionError() if name == "connectionLost" else CONNECTION_DONE
                self.patch(transport, "doRead", lambda why=why: why)
                far.send(b"data")
            other.send(b"data")
            self.poller.doRead()
            self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)), name)
            self.assertEqual((b"data", []), (quiet.got, quiet.lost))
            self.assertNotIn(transport, self.poller._numbers)
            self.assertEqual([self.poller], self.readers())

    def test_failures_with_the_reactor(self) -> None:
        """If a connection fails when the reactor stops, the others are lost nevertheless."""
        self.broken("connectionLost")
        self.broken("connectionLost")
        _, _, protocol = self.connect()
        self.poller.connectionLost(Failure(EOFError()))
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(1, len(protocol.lost))
        self.assertEqual([], self.readers())
        far, _, later = self.connect()
        self.assertEqual([self.poller], self.readers())
        far.send(b"data")
        self.poller.doRead()
        self.assertEqual(b"data", later.got)

    def test_detached(self) -> None:
        """A connection that continues in another process is not read any more."""
        far, transport, protocol = self.connect()
        transport.detach()
        self.assertEqual([], self.readers())
        far.send(b"data")
        self.assertEqual(b"", protocol.got)

    def test_other_systems(self) -> None:
        """There is none where the reactor takes no descriptors, or the system has no epoll."""
        self.assertIsNone(make_poller(Clock()))
        made = make_poller(self.reactor)
        assert made is not None
        made._epoll.close()
        self.patch(polling, "select", object())
        self.assertIsNone(make_poller(self.reactor))
