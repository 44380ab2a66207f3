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
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.web.shown import shown, without_secrets

IDLE_TIMEOUT = 120.0
"""Seconds a connection may be silent between requests, and that a whole request may take to arrive."""
LINGER = 300.0
"""Seconds a client has to take what was sent before its connection was closed."""
REFUSED = 5.0
"""Seconds that a client which was refused may go on to send before it is cut off."""
MAX_BODY = 1024 * 1024
"""Bytes of a request body that are read, and thrown away, before the request is refused."""
CLIENT_LEFT = 499
"""What the access log tells of a request whose client left before there was a response."""

_HANDSHAKE = 0x16


def _refusal(status: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, len(body), body)
    )


_NOT_PLAIN = _refusal(b"400 Bad Request", b"This port speaks plain HTTP\n")
_MALFORMED = _refusal(b"400 Bad Request", b"This is not a request that HTTP/1.1 allows\n")
_TOO_LARGE = _refusal(b"413 Content Too Large", b"Nothing is uploaded here\n")
_LINE_TOO_LONG = _refusal(b"431 Request Header Fields Too Large", b"A line is too long\n")


class RegistryRequest(Request):
    """A request whose body, which no endpoint wants, is never kept.

    *namespace* and *outcome* are for the access log: whose content it is about, and what the cache was
    good for. None as long as that is not known.
    """

    namespace: str | None = None
    outcome: Outcome | None = None

    def __init__(self, channel: HTTPChannel, queued: object = None) -> None:
        super().__init__(channel)
        self.began: float = channel.factory.reactor.seconds()
        self._body_bytes = 0

    def gotLength(self, length: int | None) -> None:
        """Make no room for the body, however long it says it is."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Throw the body away; refuse whoever does not stop sending."""
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY:
            cast(RegistryChannel, self.channel).refuse(_TOO_LARGE)

    def connectionLost(self, reason: Failure) -> None:
        """Tell the access log of a response that was not completed, too."""
        if self.uri is not HTTPRequest.uri:  # else its head has not arrived
            if not self.startedWriting:
                self.code = CLIENT_LEFT
            self.channel.factory.log(self)
        super().connectionLost(reason)

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

    Nobody holds a connection for longer than its timeouts, by sending slowly or by not reading.
    """

    _heard = False
    _arriving = False
    _closing = False

    def connectionMade(self) -> None:
        """Count the connection."""
        super().connectionMade()
        self.factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Look at the first byte, then go on as usual; nothing is heard once we are closing."""
        if self._closing:
            return
        if not self._heard:
            self._heard = True
            if data[0] == _HANDSHAKE:
                self.refuse(_NOT_PLAIN)
                return
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Give time when a request begins to arrive, not for each byte of it."""
        if not self._arriving:
            self._arriving = True
            super().resetTimeout()

    def allContentReceived(self) -> None:
        """Answer the request, unless it was refused before it had come to its end."""
        if not self._closing:
            super().allContentReceived()

    def requestDone(self, request: HTTPRequest) -> None:
        """Wait for the next request."""
        self._arriving = False
        super().requestDone(request)

    def checkPersistence(self, request: HTTPRequest, version: bytes) -> bool:
        """Take no further request when the site is closing, and say so."""
        if self.factory.closing:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than any we would want."""
        self.refuse(_LINE_TOO_LONG)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's own way to refuse; its answer has neither a body nor a length."""
        self.refuse(_MALFORMED)

    def refuse(self, answer: bytes) -> None:
        """Send *answer* in place of a response and close; nothing more of this client is looked at.

        What it still sends is thrown away for a moment: closing on it would be a reset, which may
        destroy the answer.
        """
        if self._closing:
            return
        self._closing = True
        self.clearLineBuffer()
        self.write(answer)
        self.setTimeout(REFUSED)
        transport: Any = self.transport
        transport.unregisterProducer()
        if hasattr(transport, "loseWriteConnection") and not self.isSecure():
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def loseConnection(self) -> None:
        """Close when everything is sent, or when the client has not taken it for long."""
        if not self._closing:
            self._closing = True
            self.setTimeout(LINGER)
            super().loseConnection()

    def timeoutConnection(self) -> None:
        """Close a connection that was idle; cut off one that should have been closed by now."""
        if self._closing:
            self.abort()
        else:
            self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what the client was waiting for, and count the connection no more."""
        self._closing = True
        super().connectionLost(reason)
        self.factory.disconnected(self)

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
        self.closing = False
        """Whether no further request is taken."""
        self._empty: list[Deferred[None]] = []

    def connection_count(self) -> int:
        """Return how many connections are open."""
        return len(self._channels)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Accept a connection, unless the site is closing."""
        return None if self.closing else super().buildProtocol(addr)

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
        self.closing = True
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
        if not self._access_log.wanted:
            return
        ours = cast(RegistryRequest, request)
        self._access_log.write(
            AccessEntry(
                client=getattr(request.getClientAddress(), "host", None) or "-",
                method=shown(request.method),
                uri=shown(without_secrets(request.uri)),
                protocol=shown(request.clientproto),
                status=request.code,
                sent=request.sentLength,
                seconds=self.reactor.seconds() - ours.began,
                agent=shown(request.getHeader(b"user-agent") or b"-"),
                namespace=ours.namespace,
                outcome=None if ours.outcome is None else ours.outcome.value,
            )
        )


def _cancelling(cancel: Callable[[], None], active: Callable[[], bool]) -> Callable[[Any], Any]:
    def done(result: Any) -> Any:
        if active():
            cancel()
        return result

    return done
