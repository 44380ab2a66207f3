"""A client's connection in a worker, without sockets."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.connection import WorkerConnection


class Transport:
    """A transport that sends at once, or keeps everything while it is *full*."""

    full = False
    reading = True
    closed = False
    drained: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.sent = b""
        self.kept = b""

    @property
    def pending(self) -> bool:
        return bool(self.kept) or self.closed

    def getPeer(self) -> object:
        return type("Peer", (), {"host": "10.0.0.1"})

    def write_now(self, data: bytes) -> None:
        if self.full:
            self.kept += data
        else:
            self.sent += data

    def drain(self) -> None:
        """The client reads."""
        self.full = False
        self.sent, self.kept = self.sent + self.kept, b""
        if self.drained is not None:
            self.drained()

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.closed = True


class Connections(SynchronousTestCase):
    """A worker that can answer `known`, and nothing else."""

    def setUp(self) -> None:
        self.closing = False
        self.poller = None
        self.handed: list[bytes] = []
        self.open: set[WorkerConnection] = set()
        self.transport = Transport()
        self.connection = WorkerConnection(self)
        self.connection.transport = self.transport
        self.connection.connectionMade()

    def connected(self, connection: WorkerConnection) -> None:
        self.open.add(connection)

    def disconnected(self, connection: WorkerConnection) -> None:
        self.open.discard(connection)

    def now(self) -> float:
        return 0.0

    def answer(self, request: bytes, client: str) -> tuple[bytes, bool] | None:
        self.assertEqual("10.0.0.1", client)
        return {b"known": (b"<answer>", False), b"last": (b"<end>", True)}.get(request)

    def hand_over(self, connection: WorkerConnection, received: bytes) -> None:
        self.handed.append(received)

    def test_last(self) -> None:
        """After the last response that a client wants, the connection is closed."""
        self.connection.dataReceived(b"known")
        self.connection.dataReceived(b"last")
        self.assertEqual(b"<answer><end>", self.transport.sent)
        self.assertTrue(self.transport.closed)

    def test_answered(self) -> None:
        """A known request is answered, as often as it comes."""
        for _ in range(3):
            self.connection.dataReceived(b"known")
        self.assertEqual((b"<answer>" * 3, []), (self.transport.sent, self.handed))

    def test_handed(self) -> None:
        """Anything else is handed over with all that was read: odd, pipelined or incomplete requests."""
        for data in (b"odd", b"knownknown", b"kno"):
            self.connection._received = b""
            self.connection.dataReceived(data)
        self.assertEqual([b"odd", b"knownknown", b"kno"], self.handed)
        self.assertEqual(b"", self.transport.sent)

    def test_begun(self) -> None:
        """The main process learns whether a request has been answered, here or there."""
        self.assertFalse(self.connection.begun)
        self.connection.dataReceived(b"odd")
        self.assertFalse(self.connection.begun)
        self.connection._received = b""
        self.connection.dataReceived(b"known")
        self.assertTrue(self.connection.begun)
        self.assertTrue(WorkerConnection(self, begun=True).begun)

    def test_slow_client(self) -> None:
        """While a response has not been sent, nothing more is read, answered or handed over."""
        self.transport.full = True
        self.connection.dataReceived(b"known")
        self.assertTrue(self.connection.busy)
        self.connection.dataReceived(b"odd")
        self.assertEqual(([], False), (self.handed, self.transport.reading))
        self.transport.drain()
        self.assertEqual(([b"odd"], b"<answer>"), (self.handed, self.transport.sent))

    def test_slow_client_continues(self) -> None:
        """Then the next known request is answered."""
        self.transport.full = True
        self.connection.dataReceived(b"known")
        self.connection.dataReceived(b"known")
        self.transport.drain()
        self.assertEqual((b"<answer>" * 2, True), (self.transport.sent, self.transport.reading))

    def test_closing(self) -> None:
        """An idle connection is closed when the worker stops, a busy one after its response."""
        self.transport.full = True
        self.connection.dataReceived(b"known")
        self.closing = True
        self.connection.close_when_idle()
        self.assertFalse(self.transport.closed)
        self.transport.drain()
        self.assertTrue(self.transport.closed)
        self.connection.connectionLost()
        self.assertEqual(set(), self.open)

    def test_idle(self) -> None:
        """An idle one is closed at once."""
        self.connection.close_when_idle()
        self.assertTrue(self.transport.closed)
