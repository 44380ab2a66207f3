"""The lock of a store in a directory: held by daemons together, or by one command alone.

It is a lock (``flock``) on the empty file ``lock`` below the root, and ends with its process. Daemons
share it, on one machine or on several if the volume has locks for all of them (NFS). A command that
changes the store of a stopped daemon holds it alone. Where the volume has no locks, or the file can
be neither made nor opened, there is no lock, and daemons run as they do without one.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from oci_registry.config.files import NoAnswer, in_time
from oci_registry.config.settings import FilesystemSettings, StorageSettings
from oci_registry.lifecycle import Step

LOCK = "lock"
"""The name of the file."""
_WAIT = 2.0


class StoreInUse(Exception):
    """Another process holds the lock; the message says what that means."""


class StoreLock:
    """The lock of the store below *root*, an absolute path. *seconds*: the time limit for the volume."""

    def __init__(self, root: str, seconds: float = _WAIT) -> None:
        self.root = root
        self._seconds = seconds
        self._descriptor: int | None = None

    def share(self) -> bool:
        """Take it as a daemon; return whether there is a lock. `StoreInUse` if a command has it."""
        return self._take(
            fcntl.LOCK_SH, f"a command is changing the store {self.root}: start again when it ends"
        )

    def take(self) -> bool:
        """Take it as a command; return whether there is a lock. `StoreInUse` if any other process has it."""
        return self._take(
            fcntl.LOCK_EX,
            f"a daemon or another command is using the store {self.root}: stop the daemon, or wait until the "
            "command has ended, and run this command again",
        )

    def release(self) -> None:
        """Release the lock. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self, how: int, refusal: str) -> bool:
        def take(root: str) -> int | None:
            return _lock(root, how)

        try:
            self._descriptor = in_time(take, self.root, self._seconds)
        except BlockingIOError:
            raise StoreInUse(refusal) from None
        except (NoAnswer, OSError):
            # The volume hangs or is read-only, which is reported where the store is used.
            return False
        return self._descriptor is not None


def lock_steps(storage: StorageSettings) -> list[Step]:
    """Return the steps that take and release the lock of the store; a bucket has none."""
    if not isinstance(storage, FilesystemSettings):
        return []
    lock = StoreLock(storage.root)
    return [Step("store lock", lock.share, lock.release)]


def _lock(root: str, how: int) -> int | None:
    """Open and lock the file; None if the volume has no locks."""
    Path(root).mkdir(parents=True, exist_ok=True)
    descriptor = _open(Path(root) / LOCK)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(PermissionError):
        # For writing, because an exclusive lock on NFS needs a file that is open for writing.
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    return os.open(path, os.O_RDONLY | flags)
