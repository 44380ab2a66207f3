"""The file of a history. Blocking calls, for a thread."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from oci_registry.activity.history import LONGEST

FILE = "activity.json"
"""The name of the file in the directory of a store; no key of the store begins with it."""
_NEW = ".new"


class OfAnother(Exception):
    """Another process uses the file."""


class HistoryFile:
    """A file at *path* that one process uses at a time, with a lock (``flock``) if the volume has locks.

    Writes replace the file atomically. It is not flushed to the disk, since nothing depends on it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: int | None = None

    def take(self) -> bytes:
        """Lock the file until it is closed, and return its content, empty if it did not exist.

        Raises `OfAnother`, OSError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            descriptor = os.open(self.path, flags, 0o600)
            try:
                _lock(descriptor)
                data = os.pread(descriptor, LONGEST + 1, 0)
                if self._is_at_path(descriptor):
                    self._hold(descriptor)
                    return data
            except BaseException:
                os.close(descriptor)
                raise
            # Another process has replaced it meanwhile.
            os.close(descriptor)

    def write(self, data: bytes) -> None:
        """Replace the content of a locked file. Raises `OfAnother`, OSError."""
        new = self.path + _NEW
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.rename(new, self.path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(new)
            raise
        self._hold(descriptor)

    def close(self) -> None:
        """Release the file. Idempotent."""
        descriptor, self._held = self._held, None
        if descriptor is not None:
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        self.close()
        self._held = descriptor

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), there)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OfAnother from None
    except OSError:
        # The volume has no locks. Then the process that writes last wins.
        pass
