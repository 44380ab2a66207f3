"""Decodes content codings piece by piece, and not beyond a limit."""

from __future__ import annotations

import zlib
from typing import Final

from oci_registry.streams.body import BodyError, BodyTooLong

GZIP: Final = "gzip"
DEFLATE: Final = "deflate"
UNDONE: Final = frozenset({GZIP, DEFLATE})
"""The supported content codings."""

PIECE = 256 * 1024
"""Bytes that are inflated at once, which takes well under a millisecond,"""
SLICE = 64 * 1024
"""from at most this many encoded bytes, which take 8 ms if they are crafted to be slow."""
PEEKED = 512
"""Bytes of a body that are needed to guess its content."""
FREE = 64 * 1024 * 1024
"""The size in bytes that any inflated body may have,"""
RATIO = 100
"""and how many more for each encoded byte, if no limit is given."""
_MEMBER = 1024
"""The minimum average size in bytes of the members of a gzip file, after the first 64."""


class Inflater:
    """Decodes gzip or deflate (RFC 9110 section 8.4.1), as much at a time as the caller requests.

    Raises `BodyError` for a body with another coding.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._input = bytearray()
        self._full = False
        self._members = 0
        self._produced = 0
        self._zlib: zlib._Decompress | None = None

    @property
    def pending(self) -> bool:
        """Whether `take` can return more without further input."""
        return self._full or len(self._input) >= (2 if self._zlib is None else 1)

    @property
    def backlog(self) -> int:
        """The number of encoded bytes that wait."""
        return len(self._input)

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        self._input += data

    def take(self, most: int) -> bytes:
        """Return up to *most* bytes, from no more than `SLICE` encoded ones; perhaps none."""
        if self._zlib is None:
            self._zlib = self._begin()
            if self._zlib is None:
                return b""
        piece = bytes(self._input[:SLICE])
        try:
            out = self._zlib.decompress(piece, most)
        except zlib.error:
            raise BodyError(f"the body is not encoded as {self._coding}") from None
        self._produced += len(out)
        self._full = len(out) == most and not self._zlib.eof
        left = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        del self._input[: len(piece) - len(left)]
        if self._zlib.eof:
            self._end_member()
        return out

    def finish(self) -> None:
        """End the input; raises `BodyError` if something is missing."""
        if self._input or self._zlib is not None or not self._members:
            raise BodyError("the encoded body is incomplete")

    def _begin(self) -> zlib._Decompress | None:
        """Return the decoder of the next member, None until its format is clear."""
        if len(self._input) < 2:
            return None
        if self._coding == GZIP:
            return zlib.decompressobj(31)
        # Servers send deflate with and without the zlib header.
        wrapped = _has_zlib_header(self._input)
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _end_member(self) -> None:
        self._zlib = None
        self._members += 1
        # Each member costs as much as some thousand bytes.
        if (self._members - 64) * _MEMBER > self._produced:
            raise BodyError("the body is made of too many pieces")
        if self._input and self._coding != GZIP:
            raise BodyError("the encoded body is followed by other data")


def looks_encoded(first: bytes, coding: str) -> bool:
    """Guess from the *first* bytes of a blob whether the server has encoded them in transit.

    Some servers name the coding of the stored content, of a layer that is gzip itself. Others encode
    everything that they send. If the inflated bytes are a tar archive, it is a layer of the first kind.
    """
    # Nearly any bytes could be deflate without a header.
    if coding == DEFLATE and not _has_zlib_header(first):
        return False
    inflated = _peek(first, coding)
    return bool(inflated) and inflated[257:262] != b"ustar"


def _has_zlib_header(first: bytes | bytearray) -> bool:
    """Return whether data begins as RFC 1950 says."""
    return len(first) >= 2 and first[0] & 0x0F == 8 and (first[0] << 8 | first[1]) % 31 == 0


def _peek(first: bytes, coding: str) -> bytes:
    """Return the beginning of the inflated *first*; nothing if it is not encoded."""
    inflater = Inflater(coding)
    inflater.feed(first)
    try:
        return inflater.take(PEEKED)
    except BodyError:
        return b""


class BodyDecoder:
    """A body's bytes, either as sent or inflated.

    *inflate*: whether to inflate it; with None, `looks_encoded` decides. `inflating`: the decision,
    None until it is made. *limit*: the most inflated bytes; None: *free*, and `RATIO` for each encoded
    byte.
    """

    def __init__(
        self, coding: str, *, inflate: bool | None, limit: int | None, free: int = FREE
    ) -> None:
        self.inflating: bool | None = None
        self._coding = coding
        self._inflate = inflate
        self._limit = limit
        self._free = free
        self._inflater = Inflater(coding)
        self._first = b""
        self._received = 0
        self._inflated = 0

    @property
    def pending(self) -> bool:
        """Whether `take` can return more without further input."""
        return self._inflater.pending

    @property
    def backlog(self) -> int:
        """The number of encoded bytes that wait."""
        return self._inflater.backlog

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they were sent; return those to pass on unchanged."""
        self._received += len(data)
        if self.inflating is None:
            self._first += data
            return self._decide() if len(self._first) >= PEEKED else b""
        if self.inflating:
            self._inflater.feed(data)
            return b""
        return data

    def end(self) -> bytes:
        """End the input; return the bytes to pass on unchanged."""
        return self._decide() if self.inflating is None else b""

    def _decide(self) -> bytes:
        """Choose whether to inflate, and process the first bytes."""
        first, self._first = self._first, b""
        if self._inflate is None:
            self.inflating = looks_encoded(first, self._coding)
        else:
            self.inflating = self._inflate and bool(_peek(first, self._coding))
        if not self.inflating:
            return first
        self._inflater.feed(first)
        return b""

    def take(self) -> bytes:
        """Return up to `PIECE` inflated bytes, none beyond the limit; raises `BodyError`."""
        data = self._inflater.take(PIECE)
        left = self._most - self._inflated
        self._inflated += len(data)
        return data[:left]

    def check(self) -> None:
        """Raise `BodyTooLong` if there are more inflated bytes than the limit."""
        if self._inflated > self._most:
            raise BodyTooLong(f"the body has more than {self._most} bytes when it is inflated")

    def finish(self) -> None:
        """End the body; raises `BodyError` if something is missing."""
        if self.inflating:
            self._inflater.finish()

    @property
    def _most(self) -> int:
        return self._free + RATIO * self._received if self._limit is None else self._limit
