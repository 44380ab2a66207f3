"""The connection of a client, with limits on what it sends and how long it takes."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest

from oci_registry.web.chunks import ChunkedBody
from oci_registry.web.head import (
    MAX_FIELDS,
    MAX_FIELDS_SIZE,
    MAX_REQUEST_LINE,
    RequestHead,
)
from oci_registry.web.refusals import BODY_TOO_LARGE, MALFORMED, NOT_PLAIN, Refusal, Refused
from oci_registry.web.transports import FileTransport

LINGER = 300.0
"""Seconds a client has to read what was sent before its connection is aborted."""
REFUSED = 5.0
"""Seconds until the connection of a refused client is aborted."""
MAX_BODY = 1024 * 1024
"""Bytes of a request body that are read and discarded; larger bodies are refused."""

_HANDSHAKE = 0x16


class RegistryChannel(HTTPChannel):
    """A connection that accepts only well-formed requests, and refuses anything else at once.

    A TLS handshake on the plain port is recognised by its first byte and refused, since clients that
    try TLS first would wait until a timeout.

    The timeouts also end connections of clients that send slowly or do not read.
    """

    # Twisted's own limits must not be narrower than those of `RequestHead`, which apply first.
    MAX_LENGTH = MAX_REQUEST_LINE + MAX_FIELDS_SIZE
    totalHeadersSize = MAX_LENGTH  # noqa: N815
    maxHeaders = MAX_FIELDS  # noqa: N815

    _due: float | None = None
    _client: str | None = None
    _fast: FileTransport | None = None
    _arriving = False
    _closing = False
    begun = False
    """Whether the client has sent something, so that a TLS handshake is no longer to be expected."""

    def __init__(self) -> None:
        super().__init__()
        self._head = RequestHead()

    def connectionMade(self) -> None:
        """Count the connection."""
        super().connectionMade()
        transport: Any = self.transport
        if isinstance(transport, FileTransport):
            self._fast = transport
            if self.factory.poller is not None:
                transport.poll_with(self.factory.poller)
        self.factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Check the first byte, then parse; ignore everything once we are closing."""
        if self._closing or self._answer_at_once(data):
            return
        if not self.begun:
            self.begun = True
            if data[0] == _HANDSHAKE:
                self.refuse(NOT_PLAIN)
                return
        nested = self._busyReceiving
        try:
            super().dataReceived(data)
            if self.line_mode and self._buffer and not nested and not self._closing:
                self._head.check_rest(self._buffer)
        except Refused as refused:
            self.refuse(refused.refusal)

    def _answer_at_once(self, data: bytes) -> bool:
        """Answer a whole request for which there is a ready answer, if nothing else is under way."""
        factory, fast = self.factory, self._fast
        if (
            factory.ready is None
            or self.requests
            or self._buffer
            or factory.closing
            or self._head.empty_lines
            or self._busyReceiving
            or self._waitingForTransport
            or (fast is not None and not fast.is_idle)
        ):
            return False
        found = factory.ready.respond(data, self._client or self.client)
        if found is None:
            return False
        response, last = found
        self.begun = True
        self._due = factory.reactor.seconds() + factory.timeOut
        if fast is not None:
            fast.send_at_once(response)
        else:
            transport: Any = self.transport
            transport.write(response)
        if last:
            self.loseConnection()
        return True

    @property
    def client(self) -> str:
        """The address of the client for the access log."""
        if self._client is None:
            self._client = getattr(self.getPeer(), "host", None) or "-"
        return self._client

    def lineReceived(self, line: bytes) -> None:
        """Check a line of a request head, and pass it on."""
        if not self._closing and self._head.take(line):
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is too long."""
        self._head.check_rest(line)

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too large before it is sent, and parse chunked bodies strictly."""
        if self.length is None:
            body = ChunkedBody(
                MAX_BODY, self.requests[-1].handleContentChunk, self._finishRequestBody
            )
            self._transferDecoder = body
        elif self.length > MAX_BODY:
            raise Refused(BODY_TOO_LARGE)
        super().allHeadersReceived()

    def setTimeout(self, period: float | None) -> float | None:
        """Schedule `timeoutConnection` in *period* seconds, or never; return the previous period.

        The site checks all connections periodically, so that no request needs a timer.
        """
        previous: float | None = self.timeOut
        self.timeOut = period  # type: ignore[assignment]  # Twisted takes any number
        self._due = None if period is None else self.factory.reactor.seconds() + period
        return previous

    def resetTimeout(self) -> None:
        """Restart the timeout when a request begins to arrive, not for each of its bytes."""
        if not self._arriving:
            self._arriving = True
            if self._due is not None:
                self.setTimeout(self.timeOut)

    def check_timeout(self, now: float) -> None:
        """Close the connection if its timeout is over."""
        if self._due is not None and self._due <= now:
            self._due = None
            self.timeoutConnection()

    def allContentReceived(self) -> None:
        """Handle the request, unless it has been refused."""
        if not self._closing:
            super().allContentReceived()

    def requestDone(self, request: HTTPRequest) -> None:
        """Wait for the next request."""
        self._arriving = False
        super().requestDone(request)

    def checkPersistence(self, request: HTTPRequest, version: bytes) -> bool:
        """Accept no further request when the site is closing, and send ``Connection: close``."""
        if self.factory.closing:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        lines = request.requestHeaders.getRawHeaders(b"Connection", ())
        if any(option.strip().lower() == b"close" for line in lines for option in line.split(b",")):
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse a request that Twisted rejects; its own response has neither body nor length."""
        self.refuse(MALFORMED)

    def refuse(self, refusal: Refusal) -> None:
        """Send a response to a malformed request, and close the connection.

        What the client still sends is discarded for a moment: an immediate close would reset the
        connection, and the client might lose the response.
        """
        if self._closing:
            return
        self._closing = True
        if refusal is BODY_TOO_LARGE:
            refusal = self.factory.body_too_large
        self.clearLineBuffer()
        self.write(refusal.response)
        arriving = self.requests[-1] if self.requests else None
        self.factory.log_refusal(self, refusal, self._head.method, self._head.target, arriving)
        self.setTimeout(REFUSED)
        transport: Any = self.transport
        transport.unregisterProducer()
        if hasattr(transport, "loseWriteConnection") and not self.isSecure():
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def loseConnection(self) -> None:
        """Close when everything is sent, or after `LINGER` seconds if the client does not read it."""
        if not self._closing:
            self._closing = True
            self.setTimeout(LINGER)
            super().loseConnection()

    def timeoutConnection(self) -> None:
        """Close an idle connection; abort one that is closing already."""
        if self._closing:
            self.abort()
        else:
            self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the requests of the client, and uncount the connection."""
        self._closing = True
        super().connectionLost(reason)
        self.factory.disconnected(self)

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are lost."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    @property
    def at_rest(self) -> bool:
        """Whether no part of a next request has been read here, so that another process may read it."""
        return bool(self.persistent and not (self.requests or self._buffer or self._closing))

    @property
    def ends(self) -> bool:
        """Whether the connection ends with the current response, or the last one."""
        return self._closing or not self.persistent

    def close_when_idle(self) -> None:
        """Accept no further request: close now, or after the current response."""
        if self.requests:
            self.persistent = False
        else:
            self.loseConnection()
