"""The local file in which an object grows, and its parts as files for boto3."""

from __future__ import annotations

import os
import tempfile
from io import RawIOBase

BLOCK = 256 * 1024
"""The minimum number of bytes that a read returns, if there are so many."""


def open_spool(folder: str) -> int:
    """Return the descriptor of a new file in *folder*; it has no name, so a crash leaves nothing behind."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        return os.dup(file.fileno())


def probe_spool(folder: str) -> None:
    """Check that a file can be created in *folder*; raises OSError."""
    os.close(open_spool(folder))


class Slice(RawIOBase):
    """A part of a spooled file, seekable, with its own position.

    A read returns up to *block* bytes if fewer are asked for. The HTTP client below boto3 accepts that; it
    asks for 16 KiB at a time, and each read goes through all its layers.
    """

    def __init__(self, descriptor: int, start: int, size: int, block: int = BLOCK) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._block = block
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, from the start of the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; ``b""`` at the end of the part."""
        left = max(0, self._size - self._position)
        length = left if size is None or size < 0 else min(left, max(size, self._block))
        data = os.pread(self._descriptor, length, self._start + self._position)
        if length and not data:
            raise OSError("the spooled file is shorter than it was")
        self._position += len(data)
        return data
