"""Limits on the head of an upstream's answer, below the HTTP client."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web._newclient import (
    HTTP11ClientProtocol,
    HTTPClientParser,
    ParseError,
    Request,
)
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError
from twisted.web.iweb import IResponse

from oci_registry.upstream.errors import Unusable

MAX_HEADERS_SIZE = 64 * 1024
"""Bytes of headers that an answer may have, those of interim responses (1xx) included."""
MAX_HEADERS = 1000
"""Lines of headers that an answer may have."""
MAX_INTERIM = 10
"""Interim answers that may come before the final one (RFC 9110 section 15.2)."""
MAX_HEAD = MAX_HEADERS_SIZE + 4096
"""Bytes of a whole head: there is room for the status lines and for what frames the body."""
MAX_DIGITS = 18
"""Digits of a ``Content-Length``: as many as fit into 64 bits with a sign."""

MAX_SMALL_CHUNKS = 2048
"""How many chunks of a body may be tiny (RFC 9112 section 7.1); each costs as much as some thousand bytes."""
LEAST_CHUNK = 32
"""The minimum average size of all other chunks in bytes."""

_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/[0-9]{1,3}\.[0-9]{1,3} ([0-9]{3})(?: [^\n]*)?\r?\n")
_BEGINNING = b"HTTP/"
# A folded value is not a number.
_LENGTHS = re.compile(rb"\ncontent-length[ \t]*:([^\n]*)(?=\n([ \t]?))", re.IGNORECASE)
_CODINGS = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class Head:
    """Collects the head of one answer, and leaves interim responses out.

    Lines may end in LF alone (RFC 9112 section 2.2). *bodiless*: the request was a HEAD, so that a
    ``Content-Length`` frames nothing.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self._bodiless = bodiless
        self._received = bytearray()
        self._searched = 0
        self._status: int | None = None
        self._interim = 0
        self._passed = 0

    def add(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the final answer's head and what has arrived after it, None while it is incomplete.

        Raises `Unusable` for what is beyond the limits or has an impossible length, and `ParseError`
        for what is not HTTP.
        """
        self._received += data
        while True:
            self._read_status()
            # The end may have begun in earlier bytes.
            end = _END.search(self._received, max(self._searched - 2, 0))
            length = len(self._received) if end is None else end.end()
            if self._passed + length > MAX_HEAD:
                raise Unusable(f"sent more than {MAX_HEADERS_SIZE // 1024} KiB of headers")
            if end is None:
                self._searched = length
                return None
            if self._status is None or not 100 <= self._status < 200:
                head = bytes(self._received[:length])
                self._check(head)
                return head, bytes(self._received[length:])
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise Unusable(f"sent more than {MAX_INTERIM} interim responses")
            self._passed += length
            self._searched, self._status = 0, None
            del self._received[:length]

    def _read_status(self) -> None:
        """Read the status line when it is there; raise as soon as it cannot be valid."""
        if self._status is not None:
            return
        if self._received.find(b"\n", self._searched) >= 0:
            line = _STATUS_LINE.match(self._received)
            self._status = None if line is None else int(line[1])
            possible = line is not None
        else:
            possible = self._received[: len(_BEGINNING)] == _BEGINNING[: len(self._received)]
        if not possible:
            raise ParseError("not a status line", bytes(self._received[:80]))

    def _check(self, head: bytes) -> None:
        # The status line and the empty one at the end are no headers.
        if head.count(b"\n") - 2 > MAX_HEADERS:
            raise Unusable(f"sent more than {MAX_HEADERS} headers")
        # Chunks frame the body, whatever Content-Length says (RFC 9112 section 6.3).
        if not self._bodiless and _CODINGS.search(head) is None:
            check_lengths(head)


def check_lengths(head: bytes) -> None:
    """Raise `Unusable` for an invalid ``Content-Length``; the same one may be repeated.

    RFC 9110 section 8.6.
    """
    lengths: set[int] = set()
    for value, continued in _LENGTHS.findall(head):
        for number in value.split(b","):
            digits = number.strip(b" \t\r")
            if continued or not digits.isdigit() or len(digits.lstrip(b"0")) > MAX_DIGITS:
                raise Unusable("sent an invalid Content-Length")
            lengths.add(int(digits[-MAX_DIGITS:]))
    if len(lengths) > 1:
        raise Unusable("sent conflicting Content-Length headers")


class _Chunks(_ChunkedTransferDecoder):
    """Decodes a chunked body (RFC 9112 section 7.1), and passes on what has arrived in one piece.

    A body with too many tiny chunks is refused.
    """

    def __init__(self, deliver: Callable[[bytes], None], finished: Callable[[bytes], None]) -> None:
        self._pieces: list[bytes] = []
        self._deliver = deliver
        self._finished = finished
        self._chunks = 0
        self._data = 0
        super().__init__(self._pieces.append, self._finish)

    def dataReceived(self, data: bytes) -> None:
        """Some of the body has arrived."""
        try:
            super().dataReceived(data)
        finally:
            self._flush()

    def _dataReceived_CHUNK_LENGTH(self) -> bool:
        complete = super()._dataReceived_CHUNK_LENGTH()
        if complete:
            self._chunks += 1
            self._data += self.length
            if self._chunks > MAX_SMALL_CHUNKS + self._data // LEAST_CHUNK:
                raise _MalformedChunkedDataError("the chunks are too small")
        return complete

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        if data:
            self._deliver(data)

    def _finish(self, rest: bytes) -> None:
        self._flush()
        self._finished(rest)


class BoundedProtocol(HTTP11ClientProtocol):
    """Speaks HTTP/1.1, and closes the connection to a server that exceeds the limits of a head.

    The head is given to Twisted's parser as a whole, which by itself reads any number of lines. The
    body is bounded by whoever reads it; the lines between chunks, and trailers, by Twisted.
    """

    _head: Head | None = None

    def request(self, request: Request) -> Deferred[IResponse]:
        """Send a request."""
        if self.state == "QUIESCENT":
            self._head = Head(bodiless=request.method == b"HEAD")
        answer = super().request(request)
        parser: Any = self._parser
        if parser is not None:
            parser._transferDecoders = {b"chunked": _Chunks}
        return answer

    def dataReceived(self, data: bytes) -> None:
        """Some of the answer has arrived."""
        parser, head = self._parser, self._head
        if parser is None or head is None or not parser.line_mode:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        # Else the request would be sent again, as if there had been no answer.
        parser._everReceivedData = True
        try:
            complete = head.add(data)
            if complete is not None:
                self._read(parser, *complete)
        except (Unusable, ParseError):
            self._giveUp(Failure())

    def _read(self, parser: HTTPClientParser, head: bytes, rest: bytes) -> None:
        """Parse a head, and then what has arrived of the body."""
        self._head = None
        parser.MAX_LENGTH = MAX_HEAD
        # Bytes after a response without a body belong to no request on this connection.
        request: Any = self._currentRequest
        persistent = request.persistent
        request.persistent = persistent and not rest
        try:
            parser.dataReceived(head)
        except ParseError:
            raise
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            # A header without a name, an unknown transfer coding.
            raise ParseError(str(error), head[:80]) from None
        if self._parser is parser:
            request.persistent = persistent
            if rest:
                super().dataReceived(rest)  # type: ignore[no-untyped-call]

    def _finishResponse(self, rest: bytes) -> None:
        if rest and self._currentRequest is not None:
            self._currentRequest.persistent = False
        super()._finishResponse(rest)

    def _giveUp(self, reason: Failure) -> None:
        if reason.check(ConnectionDone):
            # The orderly end of an answer.
            super()._giveUp(reason)  # type: ignore[no-untyped-call]
            return
        # A request that is still being sent ends with the connection.
        if self.state != "TRANSMITTING":
            self._disconnectParser(reason)  # type: ignore[no-untyped-call]
        # A TLS connection that is closed in order would wait for the other side.
        transport: Any = self.transport
        transport.abortConnection()


class _Factory(_HTTP11ClientFactory):
    """Makes `BoundedProtocol` objects for the pool."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> BoundedProtocol:
        return BoundedProtocol(self._quiescentCallback)  # type: ignore[no-untyped-call]


class BoundedPool(HTTPConnectionPool):
    """A pool of connections that are closed if a server exceeds the limits of a head."""

    _factory = _Factory
