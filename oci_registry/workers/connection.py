"""A client's connection in a worker, until it is handed to the core."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from oci_registry.web.polling import Poller
from oci_registry.web.transports import FileTransport, TCPFileTransport, UNIXFileTransport


class Site(Protocol):
    """The owner of a worker's connections."""

    closing: bool
    poller: Poller | None

    def connected(self, connection: WorkerConnection) -> None:
        """Add a connection."""

    def disconnected(self, connection: WorkerConnection) -> None:
        """Remove a connection, which is closed or handed over."""

    def now(self) -> float:
        """Return the time in seconds."""

    def answer(self, request: bytes, client: str) -> tuple[bytes, bool] | None:
        """Return the response to a request of a *client*, None if the core has to answer it.

        Also return whether the connection is to be closed after it.
        """

    def hand_over(self, connection: WorkerConnection, received: bytes) -> None:
        """Hand a connection, and what was received on it, to the core."""


class WorkerConnection(protocol.Protocol):
    """A connection that waits for a request.

    What the worker cannot answer by itself goes to the core together with the connection, which comes back
    between two requests. So only the core parses, refuses and times out unusual requests.
    """

    transport: Any

    def __init__(self, site: Site, *, begun: bool = False) -> None:
        self._site = site
        self._received = b""
        self.begun = begun
        """Whether a request on the connection has been answered."""
        self.last: float = site.now()
        """When the connection was last in use."""

    def connectionMade(self) -> None:
        """Take note that the connection is made or received."""
        if isinstance(self.transport, TCPFileTransport):
            self.transport.setTcpNoDelay(True)
        if self._site.poller is not None:
            self.transport.poll_with(self._site.poller)
        self._client: str = getattr(self.transport.getPeer(), "host", None) or "-"
        self._site.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer the request, or hand it over, after the previous response has been sent."""
        self._received += data
        self.last = self._site.now()
        if self.transport.pending:
            self.transport.stopReading()
        else:
            self._proceed()

    def _proceed(self) -> None:
        found = self._site.answer(self._received, self._client)
        if found is None:
            self._site.hand_over(self, self._received)
            return
        response, last = found
        self.begun = True
        self._received = b""
        self.transport.write_now(response)
        if last:
            self.transport.loseConnection()
        elif self.transport.pending:
            # Only then the end of the write matters.
            self.transport.drained = self._drained

    def _drained(self) -> None:
        self.transport.drained = None
        self.last = self._site.now()
        if self._site.closing:
            self.transport.loseConnection()
        elif self._received:
            self.transport.startReading()
            self._proceed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed, or handed over."""
        self._site.disconnected(self)

    @property
    def busy(self) -> bool:
        """Whether a response has not been sent."""
        pending: bool = self.transport.pending
        return pending

    def close_when_idle(self) -> None:
        """Close now, or after the current response."""
        if not self.busy:
            self.transport.loseConnection()


def adopt(
    descriptor: int, family: int, build: Callable[[], Any], reactor: Any
) -> FileTransport | None:
    """Make a connection of a descriptor, which is closed; None if the client has left.

    *build* makes its protocol, or None to refuse it.
    """
    made: Any = TCPFileTransport
    arguments: tuple[object, ...] = (descriptor, family, _Building(build), reactor)
    if family == socket.AF_UNIX:
        made = UNIXFileTransport
        arguments = (descriptor, _Building(build), reactor)
    with socket.socket(fileno=descriptor):
        try:
            # Like the reactor's own method to adopt a connection, but with our class of transport.
            transport: FileTransport | None = made._fromConnectedSocket(*arguments)
        except OSError:
            return None
    return transport


class _Building:
    """A factory with the one method that Twisted needs."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def buildProtocol(self, _: object) -> Any:
        """Make the protocol of a connection."""
        return self._build()
