"""Bodies for tests."""

from __future__ import annotations

import sys
from array import array
from random import Random

_PERIOD = 1_048_573
"""A prime below a MiB: what is moved by a number of blocks differs."""


def noise(seed: int, size: int) -> bytes:
    """Return bytes that do not compress, and that are others for each *seed*; cheap if there are many."""
    block = Random(seed).randbytes(min(size, _PERIOD))
    return (block * (size // _PERIOD + 1))[:size]


def pattern(size: int) -> bytes:
    """Return bytes that differ everywhere."""
    numbers = array("I", range(size // 4 + 1))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()[:size]
