"""Channel, request and site: what is special about our HTTP server before any resource is asked."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from oci_registry.logs import AccessEntry, AccessLog

IDLE_TIMEOUT = 120.0
"""Seconds a connection may be silent between requests, or within the head of one."""
SEND_AT_ONCE = 1024 * 1024
"""Bytes offered to the kernel in one call; it takes what fits."""
MAX_BODY = 1024 * 1024
"""Bytes of a request body that are read, and thrown away, before the connection is closed."""

_HANDSHAKE = 0x16
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 28\r\n"
    b"Connection: close\r\n\r\nThis port speaks plain HTTP\n"
)
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RegistryRequest(Request):
    """A request whose body, which no endpoint wants, is never kept."""

    def __init__(self, channel: HTTPChannel, queued: object = None) -> None:
        super().__init__(channel)
        self.began: float = channel.factory.reactor.seconds()
        self._body_bytes = 0

    def gotLength(self, length: int | None) -> None:
        """Make no room for the body, however long it says it is."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Throw the body away; close the connection on whoever does not stop sending."""
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY:
            self.channel.write(_TOO_LARGE)
            self.channel.loseConnection()

    @property
    def gone(self) -> bool:
        """Whether the client has left, or its response is complete."""
        channel: HTTPChannel | None = self.channel
        return channel is None

    def abort(self) -> None:
        """Close the connection at once, with whatever has not been sent."""
        if self.channel is not None:
            cast(RegistryChannel, self.channel).abort()

    def close_short(self) -> None:
        """End a response that cannot be completed: an orderly close before its announced end.

        Clients resume after that, and not after a reset.
        """
        if self.channel is not None:
            self.channel.loseConnection()


class RegistryChannel(HTTPChannel):
    """A connection that recognises a TLS handshake on the plain port at its first byte.

    Clients that try TLS first wait for as long as nobody answers; the rest of what they sent is not
    an HTTP request and will never become one.
    """

    _heard = False

    def connectionMade(self) -> None:
        """Count the connection, and let it send more at once than Twisted's 128 KiB.

        A chunk that is sent in two calls is copied in between. Transports that do not know the
        attribute (TLS) ignore it.
        """
        super().connectionMade()
        self.transport.SEND_LIMIT = SEND_AT_ONCE  # type: ignore[union-attr]
        self.factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Look at the first byte, then go on as usual."""
        if not self._heard:
            self._heard = True
            if data[0] == _HANDSHAKE:
                self.write(_BAD_REQUEST)
                self.loseConnection()
                return
        super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count the connection no more."""
        self.factory.disconnected(self)
        super().connectionLost(reason)

    def abort(self) -> None:
        """Close the connection at once, with whatever has not been sent."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def close_when_idle(self) -> None:
        """Take no further request: close now, or after the response under way."""
        if self.requests:
            self.persistent = False
        else:
            self.loseConnection()


class RegistrySite(Site):
    """The site: it knows its connections, so that it can end them in order."""

    protocol = RegistryChannel  # type: ignore[assignment]
    noisy = False
    _log = Logger()

    def __init__(self, resource: IResource, reactor: IReactorTime, access_log: AccessLog) -> None:
        super().__init__(
            resource, requestFactory=RegistryRequest, timeout=IDLE_TIMEOUT, reactor=reactor
        )
        self.displayTracebacks = False
        self._access_log = access_log
        self._channels: set[RegistryChannel] = set()
        self._closing = False
        self._empty: list[Deferred[None]] = []

    def connection_count(self) -> int:
        """Return how many connections are open."""
        return len(self._channels)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Accept a connection, unless the site is closing."""
        return None if self._closing else super().buildProtocol(addr)

    def connected(self, channel: RegistryChannel) -> None:
        """A connection has been made."""
        self._channels.add(channel)

    def disconnected(self, channel: RegistryChannel) -> None:
        """A connection is gone."""
        self._channels.discard(channel)
        if not self._channels:
            waiting, self._empty = self._empty, []
            for waiter in waiting:
                waiter.callback(None)

    def close(self, grace: float) -> Deferred[None]:
        """End idle connections now, busy ones after their response, and all after *grace* seconds.

        Fires when there is none left.
        """
        self._closing = True
        done: Deferred[None] = Deferred()
        if not self._channels:
            done.callback(None)
            return done
        self._empty.append(done)
        late = self.reactor.callLater(grace, self._abort_all)
        for channel in list(self._channels):
            channel.close_when_idle()
        return done.addBoth(_cancelling(late.cancel, late.active))

    def _abort_all(self) -> None:
        self._log.warn(
            "{count} connections outlived the grace period and are closed",
            count=len(self._channels),
        )
        for channel in list(self._channels):
            channel.abort()

    def log(self, request: HTTPRequest) -> None:
        """Write the access log: one line per response."""
        self._access_log.write(
            AccessEntry(
                client=getattr(request.getClientAddress(), "host", None) or "-",
                method=_shown(request.method),
                uri=_shown(request.uri),
                status=request.code,
                sent=request.sentLength,
                seconds=self.reactor.seconds() - getattr(request, "began", 0.0),
                agent=_shown(request.getHeader(b"user-agent") or b"-"),
            )
        )


def _cancelling(cancel: Callable[[], None], active: Callable[[], bool]) -> Callable[[Any], Any]:
    def done(result: Any) -> Any:
        if active():
            cancel()
        return result

    return done


def _shown(raw: bytes) -> str:
    """Return client-sent bytes as one printable line."""
    text = raw[:512].decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return ascii(text)[1:-1].replace('"', "\\x22")
