"""Numbers of bytes and seconds in lines of the log."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def in_bytes(count: float) -> str:
    """Return a number of bytes with two or three digits and a decimal unit: ``1.2 MB``, ``120 MB``."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if count < 999.5 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def roughly(seconds: float) -> str:
    """Return a duration in its largest unit: ``3 days``, ``5 hours``, ``12 minutes``, ``9.1 s``."""
    for unit, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return in_seconds(seconds)


def in_seconds(seconds: float) -> str:
    """Return a duration in seconds, to a tenth unless it is long: ``9.1 s``, ``120 s``."""
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"
