"""Chunked request bodies (RFC 9112 section 7.1), which are read to find their end."""

from __future__ import annotations

import re
from collections.abc import Callable

from oci_registry.web.head import FIELD, check_begun
from oci_registry.web.refusals import BODY_TOO_LARGE, FIELDS_TOO_LARGE, MALFORMED, Refusal, Refused

MAX_SIZE_LINE = 1024
"""The maximum length in bytes of a line with a chunk's size and extensions."""
MAX_TRAILERS = 16 * 1024
"""The maximum length in bytes of all trailers together."""

_EXTENSION = rb"(?:;[\t\x20-\x7e\x80-\xff]*)?"
# Nobody sends chunks whose size has more digits than this.
_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,8})" + _EXTENSION)
_SIZE_BEGUN = re.compile(rb"0*[0-9A-Fa-f]{0,8}" + _EXTENSION + rb"\r?")


class ChunkedBody:
    """Finds the end of a chunked body of at most *limit* bytes, including its framing.

    *data* is called with the content, *finished* with the bytes after the body. It replaces Twisted's
    decoder, which waits for the end of a line or chunk of any length.
    """

    def __init__(
        self, limit: int, data: Callable[[bytes], None], finished: Callable[[bytes], None]
    ) -> None:
        self._left = limit
        self._data = data
        self._finished = finished
        self._buffer = bytearray()
        self._chunk = 0
        self._trailers = 0
        self._step: Callable[[], bool] = self._read_size

    def dataReceived(self, data: bytes) -> None:
        """Take the next bytes of the connection; raises `Refused`."""
        self._buffer += data
        while self._step():
            pass

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise Refused(BODY_TOO_LARGE)
        self._left -= count
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _line(self, limit: int, refusal: Refusal) -> bytes | None:
        """Return the next line without its end; None if it is not complete."""
        end = self._buffer.find(b"\r\n", 0, limit + 2)
        if end < 0 and len(self._buffer) > limit + 1:
            raise Refused(refusal)
        return None if end < 0 else self._take(end + 2)[:-2]

    def _read_size(self) -> bool:
        line = self._line(MAX_SIZE_LINE, MALFORMED)
        if line is None:
            if _SIZE_BEGUN.fullmatch(self._buffer) is None:
                raise Refused(MALFORMED)
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Refused(MALFORMED)
        self._chunk = int(match[1], 16)
        if self._chunk > self._left:
            raise Refused(BODY_TOO_LARGE)
        self._step = self._read_content if self._chunk else self._read_trailer
        return True

    def _read_content(self) -> bool:
        piece = self._take(min(self._chunk, len(self._buffer)))
        self._chunk -= len(piece)
        if piece:
            self._data(piece)
        if self._chunk:
            return False
        self._step = self._read_end
        return True

    def _read_end(self) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise Refused(MALFORMED)
        if len(self._buffer) < 2:
            return False
        self._take(2)
        self._step = self._read_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line(MAX_TRAILERS - self._trailers, FIELDS_TOO_LARGE)
        if line is None:
            check_begun(self._buffer)
            return False
        if line:
            self._trailers += len(line) + 2
            if FIELD.fullmatch(line) is None:
                raise Refused(MALFORMED)
            return True
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._step = self._stay_done
        self._finished(rest)
        return False

    def _stay_done(self) -> bool:
        raise RuntimeError("the body has ended")
