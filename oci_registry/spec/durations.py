"""Durations as people write them: ``0s``, ``90m``, ``14d``, ``1h 30m``."""

from __future__ import annotations

import math
import re

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_YEAR = 365 * _DAY

_UNITS: dict[str, int] = {
    "ms": 1,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "week", "weeks"), _WEEK),
    **dict.fromkeys(("y", "year", "years"), _YEAR),
}
_WRITTEN = (("d", _DAY), ("h", _HOUR), ("m", _MINUTE), ("s", _SECOND), ("ms", 1))
_MAX_TEXT = 100
_LONGEST = 100 * _YEAR
_PART = re.compile(r"([0-9]+)[ \t]*([a-z]*)[ \t]*")
_ACCEPTED = "whole numbers with a unit of ms, s, m, h, d, w or y, as in '90m', '14d' or '1h 30m'"


def parse_duration(text: str | int) -> float:
    """The seconds in ``text``, to the millisecond and at most 100 years (of 365 days).

    A bare number says too little, except 0.  `ValueError` names the text and what is accepted.
    """
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise _refused(text, "it is not a duration")
    if isinstance(text, int):
        if text != 0:
            raise _refused(text, "it needs a unit" if text > 0 else "it is negative")
        return 0.0
    if len(text) > _MAX_TEXT:
        raise _refused(text[:_MAX_TEXT] + "...", "it is too long")
    stripped = text.strip(" \t")
    if not stripped:
        raise _refused(text, "it is empty")
    if stripped.startswith("-"):
        raise _refused(text, "it is negative")
    if stripped == "0":
        return 0.0
    total = position = 0
    while position < len(stripped):
        match = _PART.match(stripped, position)
        if match is None:
            raise _refused(text, "it is not a list of numbers with units")
        number, unit = match.groups()
        if not unit:
            raise _refused(text, f"{number} needs a unit")
        if unit not in _UNITS:
            raise _refused(text, f"{unit!r} is not a unit")
        total += int(number) * _UNITS[unit]
        position = match.end()
    if total > _LONGEST:
        raise _refused(text, "it is longer than 100 years")
    return total / _SECOND


def format_duration(seconds: float) -> str:
    """``seconds``, rounded to the millisecond, in words `parse_duration` takes: ``1h 30m``.

    `ValueError` for what is negative or not finite.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds!r} is not a duration")
    left = round(seconds * _SECOND)
    parts = []
    for unit, length in _WRITTEN:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _refused(text: object, reason: str) -> ValueError:
    return ValueError(f"bad duration {text!r}: {reason}; accepted are {_ACCEPTED}")
