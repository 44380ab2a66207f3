"""How the process takes memory for large pieces of data from the system, and gives it back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE_BLOCK = 1024 * 1024
"""Bytes from which on a block of memory is the system's again as soon as it is free."""
KEPT = 4 * 1024 * 1024
"""Bytes of free memory that are kept for the next block: as many as one download uses in turns."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
REUSED = LARGE_BLOCK - 64 * 1024
"""Bytes of the largest piece whose memory is used again, with room for what Python adds."""


def return_large_blocks() -> None:
    """Have large blocks of memory given back when they are free, and smaller ones used again.

    glibc does so at first; once it has seen a block of some size come and go it keeps the next ones
    of that size, in a heap for each thread, and fifty manifests of 4 MiB that many threads have had
    in their hands leave hundreds of MiB behind. Of smaller blocks it gives back all but 128 KiB, and a
    download would have the kernel clear new pages for each piece. Other C libraries have no such settings.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT)
