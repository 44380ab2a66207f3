"""How the process allocates and frees the memory of large pieces of data."""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE_BLOCK = 1024 * 1024
"""Blocks of at least so many bytes are returned to the system as soon as they are free."""
KEPT = 4 * 1024 * 1024
"""Bytes of free memory that are kept for the next block: as many as one download uses alternately."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
REUSED = LARGE_BLOCK - 64 * 1024
"""Bytes of the largest piece whose memory is reused, with room for Python's overhead."""


def return_large_blocks() -> None:
    """Make the allocator return large blocks when they are free, and reuse smaller ones.

    glibc does so at first; once a block of some size was freed, it keeps further ones of that size, in
    a heap for each thread, and fifty manifests of 4 MiB that many threads have parsed leave hundreds of
    MiB behind. Of smaller blocks it returns all but 128 KiB, so the kernel would clear new pages for
    each piece of a download. Other C libraries have no such settings.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT)
