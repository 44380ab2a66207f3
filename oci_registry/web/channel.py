"""The connection of a client: what it may send, and for how long."""

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
from oci_registry.web.refusals import BODY_TOO_LARGE, MALFORMED, NOT_PLAIN, Refused

LINGER = 300.0
"""Seconds a client has to take what was sent before its connection was closed."""
REFUSED = 5.0
"""Seconds that a client which was refused may go on to send before it is cut off."""
MAX_BODY = 1024 * 1024
"""Bytes of a request body that are read, and thrown away, before the request is refused."""

_HANDSHAKE = 0x16


class RegistryChannel(HTTPChannel):
    """A connection that takes well-formed requests only, and refuses all else as soon as it is seen.

    A TLS handshake on the plain port is recognised at its first byte: clients that try TLS first wait
    for as long as nobody answers; the rest of what they sent is not an HTTP request and will never
    become one.

    Nobody holds a connection for longer than its timeouts, by sending slowly or by not reading.
    """

    # Twisted's own limits only have to be no narrower than those of `RequestHead`, which come first.
    MAX_LENGTH = MAX_REQUEST_LINE + MAX_FIELDS_SIZE
    totalHeadersSize = MAX_LENGTH  # noqa: N815
    maxHeaders = MAX_FIELDS  # noqa: N815

    _heard = False
    _arriving = False
    _closing = False

    def __init__(self) -> None:
        super().__init__()
        self._head = RequestHead()

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
                self.refuse(NOT_PLAIN)
                return
        nested = self._busyReceiving
        try:
            super().dataReceived(data)
            if self.line_mode and self._buffer and not nested and not self._closing:
                self._head.check_rest(self._buffer)
        except Refused as refused:
            self.refuse(refused.answer)

    def lineReceived(self, line: bytes) -> None:
        """Judge a line of a head, and pass it on."""
        if not self._closing and self._head.take(line):
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than any we would want."""
        self._head.check_rest(line)

    def allHeadersReceived(self) -> None:
        """Refuse a body that is too long before it is sent, and have one in chunks read strictly."""
        if self.length is None:
            body = ChunkedBody(
                MAX_BODY, self.requests[-1].handleContentChunk, self._finishRequestBody
            )
            self._transferDecoder = body
        elif self.length > MAX_BODY:
            raise Refused(BODY_TOO_LARGE)
        super().allHeadersReceived()

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
        lines = request.requestHeaders.getRawHeaders(b"Connection", ())
        if any(option.strip().lower() == b"close" for line in lines for option in line.split(b",")):
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's own way to refuse; its answer has neither a body nor a length."""
        self.refuse(MALFORMED)

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
