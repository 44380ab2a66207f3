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

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from oci_registry.config.files import NoAnswer, in_time
from oci_registry.config.settings import FilesystemSettings, StorageSettings
from oci_registry.lifecycle import Step
from oci_registry.streams.threads import RunInThread

LOCK = "lock"
"""The name of the file."""
CHECKED = 30.0
"""Seconds until the next check that the file is still there."""
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

    def renew(self) -> None:
        """Share it again if its file was removed or replaced. Blocks; raises OSError.

        Without that, a command would find the new file free.
        """
        held = self._descriptor
        if not os.path.isdir(self.root) or (held is not None and _is_at(held, self.root)):
            return
        found = _lock(self.root, fcntl.LOCK_SH)
        if found is not None:
            self._descriptor = found
            if held is not None:
                os.close(held)

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


class DaemonLock:
    """Shares the lock of a store while the daemon runs, and checks periodically that its file is there.

    *run*: the thread for that.
    """

    def __init__(self, lock: StoreLock, clock: IReactorTime, run: RunInThread) -> None:
        self._lock = lock
        self._run = run
        self._checks = LoopingCall(self._check)
        self._checks.clock = clock

    def start(self) -> None:
        """Take the lock; `StoreInUse` if a command has it."""
        self._lock.share()
        self._checks.start(CHECKED, now=False)

    async def _check(self) -> None:
        # Else a command has it now, or the directory is unavailable, which is reported where it is used.
        with suppress(OSError):
            await self._run(self._lock.renew)

    def stop(self) -> None:
        """Release the lock. By then the thread has ended, unless it hangs in the store."""
        if self._checks.running:
            self._checks.stop()
        self._lock.release()


def lock_steps(storage: StorageSettings, clock: IReactorTime, run: RunInThread) -> list[Step]:
    """Return the steps that take and release the lock of the store; a bucket has none."""
    if not isinstance(storage, FilesystemSettings):
        return []
    lock = DaemonLock(StoreLock(storage.root), clock, run)
    return [Step("store lock", lock.start, lock.stop)]


def _is_at(descriptor: int, root: str) -> bool:
    """Whether an open file is still that of the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(Path(root) / LOCK))
    except FileNotFoundError:
        return False


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
