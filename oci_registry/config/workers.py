"""The number of worker processes, which may depend on the number of processors."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

MAX_WORKERS = 64
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def parse_workers(text: str) -> int:
    """Return the number in the text, or the number of processors for ``auto``; ValueError has the reason."""
    word = text.strip().lower()
    if word == "auto":
        return min(available_processors(), MAX_WORKERS)
    # isdigit alone would accept superscripts.
    if word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= MAX_WORKERS:
        return int(word)
    raise ValueError(f"{text[:40]!a} is not a number from 1 to {MAX_WORKERS}, or auto")


def available_processors(quota: Path = _QUOTA) -> int:
    """Return how many processors this process may use, at least 1.

    *quota*: the file with the limit of a container (``cpu.max`` of cgroup v2).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(count, _limit(quota) or count))


def _limit(quota: Path) -> int | None:
    """Return the processors that a container may use; None if there is no limit, or it is not known."""
    try:
        time, period = quota.read_text("ascii").split()
        return None if time == "max" else ceil(int(time) / int(period))
    except (OSError, ValueError, ArithmeticError):
        return None
