"""How the process takes memory for large pieces of data from the system, and gives it back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE_BLOCK = 1024 * 1024
"""Bytes from which on a block of memory is the system's again as soon as it is free."""
_M_MMAP_THRESHOLD = -3


def return_large_blocks() -> None:
    """Have large blocks of memory given back when they are free.

    glibc does so at first; once it has seen a block of some size come and go it keeps the next ones
    of that size, in a heap for each thread, and fifty manifests of 4 MiB that many threads have had
    in their hands leave hundreds of MiB behind. Other C libraries have no such setting.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
