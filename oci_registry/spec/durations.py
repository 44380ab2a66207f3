"""Durations in text: ``0s``, ``90m``, ``14d``, ``1h 30m``.

The units are those of humantime, a library that many daemons use: a year has 365.25 days and a
month 30.44 days.
"""

from __future__ import annotations

import math
import re

_MILLISECOND = 1_000_000
_SECOND = 1000 * _MILLISECOND
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_MONTH = 2_630_016 * _SECOND
_YEAR = 31_557_600 * _SECOND

# In nanoseconds.
_UNITS: dict[str, int] = {
    **dict.fromkeys(("ns", "nsec", "nanos"), 1),
    **dict.fromkeys(("us", "usec", "\u00b5s"), 1000),
    **dict.fromkeys(("ms", "msec", "millis"), _MILLISECOND),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), _WEEK),
    **dict.fromkeys(("M", "month", "months"), _MONTH),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), _YEAR),
}
_WRITTEN = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_MAX_TEXT = 100
_LONGEST = 100 * _YEAR
_PART = re.compile("([0-9]+)[ \t]*([a-zA-Z\u00b5]*)[ \t]*")
_ACCEPTED = "whole numbers with a unit of ms, s, m, h, d, w, M or y, as in '90m', '14d' or '1h 30m'"


def parse_duration(text: str | int) -> float:
    """Return the seconds in ``text``, rounded up to the millisecond.

    More than 100 years count as 100 years. A number needs a unit, unless it is 0. The message of
    the `ValueError` has the text and says what is accepted.
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
    # Longer times make no practical difference, and would overflow timers and dates.
    return -(-min(total, _LONGEST) // _MILLISECOND) / 1000


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as text that `parse_duration` accepts: ``1h 30m``.

    They are rounded to the millisecond. Raises `ValueError` if they are negative or not finite.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds!r} is not a duration")
    left = round(seconds * 1000)
    parts = []
    for unit, length in _WRITTEN:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _refused(text: object, reason: str) -> ValueError:
    return ValueError(f"bad duration {text!r}: {reason}; accepted: {_ACCEPTED}")
