"""Which pages of a file are in the page cache, so that sending them does not wait for the disk."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from typing import Any

LARGEST = 1024 * 1024
"""The maximum number of bytes of one look-up, which takes some 20 microseconds on Linux."""

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_PAGE = mmap.PAGESIZE
# No file is so long, so the page at this offset is never cached.
_BEYOND = 1 << 40
_PROT_NONE = 0
_FAILED = ctypes.c_void_p(-1).value
# Only the reactor thread looks up pages, and one range at a time.
_found = ctypes.create_string_buffer(LARGEST // _PAGE + 1)


def _load() -> Any:
    """Return the C library with its functions declared; None if it lacks one of them."""
    try:
        library: Any = ctypes.CDLL(None)
        # If both exist, only the one with 64 takes offsets beyond 2 GiB.
        library.map = library.mmap64 if hasattr(library, "mmap64") else library.mmap
        library.map.restype = ctypes.c_void_p
        library.map.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int64,
        )
        library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    except (OSError, AttributeError):
        return None
    return library


_library: Any = _load() if _NOWAIT is not None else None


def can_tell(descriptor: int) -> bool:
    """Whether `resident` may be asked about an open file: if it never waits, and its result is true.

    It may not be asked on volumes without reads that do not wait (network file systems, FUSE, tmpfs),
    nor about files of other users, for which Linux reports every page as cached. Access times of the
    file are no longer updated: that may wait too.
    """
    if _library is None or _NOWAIT is None:
        return False
    try:
        os.preadv(descriptor, (bytearray(1),), 0, _NOWAIT)
    except BlockingIOError:
        pass
    except OSError:
        return False
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NOATIME)
    except OSError:
        return False
    return _pages(descriptor, _BEYOND, _PAGE) == b"\0"


def resident(descriptor: int, offset: int, length: int) -> int:
    """Return how many bytes from *offset* on are in the page cache, at most *length* and `LARGEST`.

    Bytes beyond the end of the file are not. Call it on the reactor only, and only if `can_tell`.
    """
    into = offset % _PAGE
    pages = _pages(descriptor, offset - into, min(length, LARGEST - into) + into)
    if pages is None:
        return 0
    missing = pages.find(b"\0")
    found = (len(pages) if missing < 0 else missing) * _PAGE - into
    return max(0, min(length, found))


def _pages(descriptor: int, start: int, length: int) -> bytes | None:
    """Return a byte for each page, 0 for one that is not in the page cache; None if that is not known."""
    address = _library.map(None, length, _PROT_NONE, mmap.MAP_SHARED, descriptor, start)
    if address in (None, _FAILED):
        return None
    try:
        if _library.mincore(address, length, _found):
            return None
        return _found.raw[: -(-length // _PAGE)]
    finally:
        _library.munmap(address, length)
