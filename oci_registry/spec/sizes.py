"""Sizes as people write them: ``200GiB``, ``500 MB``, ``20G``, and shares of a volume: ``80%``."""

from __future__ import annotations

import re

from attrs import frozen

_UNITS = {"": 1, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)[ \t]*(?:([kmgtp]?)(i?)b?)", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)[ \t]*%")
_MAX_TEXT = 100
_MOST = 2**60
_BYTES = "a number with a unit, as in '200GiB', '200GB' or '200G' (the same as GiB)"
_ACCEPTED = f"{_BYTES}, or a share, as in '80%'"
_RATES = "bytes per second with a unit, as in '20MB' or '20MB/s'"


@frozen
class Size:
    """A number of bytes, or a share of the volume, from 0 to 1; *text* is how it was written."""

    bytes: int
    share: float | None
    text: str

    def of(self, volume: int) -> int:
        """Return the bytes, given those of the volume."""
        return self.bytes if self.share is None else int(self.share * volume)


def parse_size(text: str) -> Size:
    """Return the size in *text*: units of 1000 (``MB``) or 1024 (``MiB``, and ``M`` as docker and du have it).

    A number needs a unit, unless it is 0. `ValueError` names the text and what is accepted.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise _refused("size", text, error, _ACCEPTED) from None


def parse_bytes(text: str) -> Size:
    """Return the size in *text*, which must not be a share of a volume. `ValueError` as in `parse_size`."""
    try:
        return _without_share(text)
    except ValueError as error:
        raise _refused("size", text, error, _BYTES) from None


def parse_rate(text: str) -> Size:
    """Return the bytes per second in *text*, as in ``20MB`` or ``20MB/s``. `ValueError` as in `parse_size`."""
    try:
        return _without_share(re.sub(r"[ \t]*/[ \t]*s[ \t]*$", "", text))
    except ValueError as error:
        raise _refused("rate", text, error, _RATES) from None


def _without_share(text: str) -> Size:
    size = _parse(text)
    if size.share is not None:
        raise ValueError("it must not be a share")
    return size


def _parse(text: str) -> Size:
    stripped = text.strip(" \t")
    if len(stripped) > _MAX_TEXT:
        raise ValueError("it is too long")
    share = _SHARE.fullmatch(stripped)
    if share is not None:
        value = float(share[1]) / 100
        if not 0 < value <= 1:
            raise ValueError("a share is more than 0% and at most 100%")
        return Size(0, value, stripped)
    size = _SIZE.fullmatch(stripped)
    if size is None:
        raise ValueError("it is negative" if stripped.startswith("-") else "it is not a size")
    number, letter, binary = size.groups()
    plain = stripped[len(number) :].strip().lower()
    if not plain and float(number) != 0:
        raise ValueError("it needs a unit")
    # "G" alone is what disk tools print, in units of 1024.
    base = 1024 if binary or plain == letter.lower() else 1000
    value = float(number) * (base ** _UNITS[letter.lower()] if letter else 1)
    if value > _MOST:
        raise ValueError("it is too large")
    return Size(int(value), None, stripped)


def _refused(kind: str, text: str, reason: object, accepted: str) -> ValueError:
    start = text[:_MAX_TEXT] + "..." if len(text) > _MAX_TEXT else text
    return ValueError(f"bad {kind} {start!a}: {reason}; accepted: {accepted}")
