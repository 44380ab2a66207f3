"""Bodies that are encoded, undone piece by piece and not beyond a limit."""

from __future__ import annotations

import zlib
from typing import Final

from oci_registry.streams.body import BodyError, BodyTooLong

GZIP: Final = "gzip"
DEFLATE: Final = "deflate"
UNDONE: Final = frozenset({GZIP, DEFLATE})
"""The codings that can be undone here."""

PIECE = 256 * 1024
"""Bytes that are inflated at once, in well under a millisecond,"""
SLICE = 64 * 1024
"""from as many encoded bytes, which cost 8 ms where they are made to be slow."""
PEEKED = 512
"""Bytes of a body that are enough to guess what is in it."""
FREE = 64 * 1024 * 1024
"""Bytes that a body may have when it is inflated, however few it had before,"""
RATIO = 100
"""and how many for each that it had, where its length is not known."""
_MEMBER = 1024
"""Bytes that the members of a gzip file have on the average, but for the first 64."""


class Inflater:
    """Undo gzip or deflate (RFC 9110 section 8.4.1), as much at a time as is asked for.

    Raises `BodyError` for a body that is not encoded so.
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
        """Whether `take` gets on without more input."""
        return self._full or len(self._input) >= (2 if self._zlib is None else 1)

    @property
    def backlog(self) -> int:
        """Encoded bytes that wait."""
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
        """There is no more input; raises `BodyError` if something is missing."""
        if self._input or self._zlib is not None or not self._members:
            raise BodyError("the encoded body is incomplete")

    def _begin(self) -> zlib._Decompress | None:
        """Return what undoes the next member, None as long as it is not clear what it is."""
        if len(self._input) < 2:
            return None
        if self._coding == GZIP:
            return zlib.decompressobj(31)
        # What is called deflate is sent with and without that header.
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
    """Guess from the *first* bytes of a blob whether they were encoded on the way.

    Some servers name the coding of what they store: of a layer that is gzip itself. Others encode
    whatever they send. What is a tar archive when it is inflated is a layer of the first kind.
    """
    # Nearly everything could be the deflate that has no header.
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
    """A body's bytes, either as they came or inflated.

    *inflate*: which, where it can be inflated at all; None leaves it to `looks_encoded`. `inflating`
    tells what was chosen, None until then. More than *limit* bytes are not inflated, or where it is
    None, out of all proportion.
    """

    def __init__(self, coding: str, *, inflate: bool | None, limit: int | None) -> None:
        self.inflating: bool | None = None
        self._coding = coding
        self._inflate = inflate
        self._limit = limit
        self._inflater = Inflater(coding)
        self._first = b""
        self._received = 0
        self._inflated = 0

    @property
    def pending(self) -> bool:
        """Whether `take` gets on without more input."""
        return self._inflater.pending

    @property
    def backlog(self) -> int:
        """Encoded bytes that wait."""
        return self._inflater.backlog

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return those that are to be passed on so."""
        self._received += len(data)
        if self.inflating is None:
            self._first += data
            return self._decide() if len(self._first) >= PEEKED else b""
        if self.inflating:
            self._inflater.feed(data)
            return b""
        return data

    def end(self) -> bytes:
        """There is no more input; return the bytes to pass on unchanged."""
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
        """All input was taken; raises `BodyError` if something is missing."""
        if self.inflating:
            self._inflater.finish()

    @property
    def _most(self) -> int:
        return FREE + RATIO * self._received if self._limit is None else self._limit
