"""Byte ranges in requests and responses (RFC 9110 section 14)."""

from __future__ import annotations

import re

from attrs import frozen

from oci_registry.spec.errors import RangeInvalid

_MAX_HEADER = 200
_FARTHEST = 2**62
_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE = re.compile(
    r"bytes[ \t]+([0-9]+)-([0-9]+)/(?:([0-9]+)|\*)", re.IGNORECASE | re.ASCII
)

_UNSATISFIED = re.compile(r"bytes[ \t]+\*/([0-9]+)", re.IGNORECASE | re.ASCII)


@frozen
class ByteRange:
    """The bytes from ``start`` up to, but not including, ``stop``; not empty if it was parsed."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Return the number of bytes."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the ``Content-Range`` of this part of ``size`` bytes: ``bytes 0-99/1000``."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


@frozen
class RequestedRange:
    """The range in a ``Range`` header, while the size of the content is not known.

    It is from ``start`` up to, but not including, ``stop`` (None: the end), or the last ``suffix``
    bytes if that is not None.
    """

    start: int = 0
    stop: int | None = None
    suffix: int | None = None

    @property
    def expected(self) -> tuple[int, int | None]:
        """Return where it begins and ends, before the size is known.

        ``(0, None)`` for the last bytes, and for a range that begins beyond any possible size.
        """
        if self.suffix is not None or self.start > _FARTHEST:
            return 0, None
        return self.start, self.stop

    def of(self, size: int) -> ByteRange:
        """Return the part of ``size`` bytes that it selects; raise `RangeInvalid` if that is empty.

        An end beyond the last byte is reduced, since some clients request one byte too many.
        """
        start = self.start if self.suffix is None else max(size - self.suffix, 0)
        # Also true for a suffix of 0 bytes, and for any part of empty content.
        if start >= size:
            raise RangeInvalid.beyond(size)
        return ByteRange(start, size if self.stop is None else min(self.stop, size))


def parse_range(header: str | None) -> RequestedRange | None:
    """Return the range in a ``Range`` header; ``None`` means the whole content.

    A header that is malformed, too long, has another unit or several ranges is ignored, as section
    14.2 allows.
    """
    if header is None or len(header) > _MAX_HEADER:
        return None
    match = _RANGE.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    first, last = match.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return RequestedRange(int(first), int(last) + 1 if last else None)
    return RequestedRange(suffix=int(last)) if last else None


def parse_content_range(header: str | None) -> tuple[int, int, int | None] | None:
    """Return start, stop (exclusive) and whole size in the ``Content-Range`` of an upstream.

    The size is ``None`` if the upstream does not send it (``*``). All three are ``None`` if the
    header is missing, malformed, contradictory, or names no range (``bytes */10``).
    """
    if header is None or len(header) > _MAX_HEADER:
        return None
    match = _CONTENT_RANGE.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    start, stop = int(match[1]), int(match[2]) + 1
    size = None if match[3] is None else int(match[3])
    if stop <= start or (size is not None and stop > size):
        return None
    return start, stop, size


def parse_unsatisfied(header: str | None) -> int | None:
    """Return the whole size in the ``Content-Range`` of a 416.

    ``None`` if the header is missing or anything but ``bytes */1000``.
    """
    if header is None or len(header) > _MAX_HEADER:
        return None
    match = _UNSATISFIED.fullmatch(header.strip(" \t"))
    return None if match is None else int(match[1])
