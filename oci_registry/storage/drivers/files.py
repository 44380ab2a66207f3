"""Operations of the filesystem driver on single files: lock, write, read, rename."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import TypeVar

from twisted.internet.defer import Deferred

from oci_registry.spec.errors import system_reason
from oci_registry.storage.drivers import page_cache
from oci_registry.storage.interfaces import Space, StoreError
from oci_registry.streams.threads import RunInThread

SEALED = 0o444
WRITABLE = 0o644
# An object is a regular file: links out of the root are not followed, and pipes are not waited for.
_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# The reactor thread reads into this buffer and copies from it: it stays in the processor's cache, while
# a new one would have to be cleared and mapped for each read.
_SCRATCH = bytearray(256 * 1024)
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)

# Errors of volumes that do not support an operation: SMB, vfat, some NFS and FUSE.
_NOT_SUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

T = TypeVar("T")


def as_store_error(call: Callable[..., T], *args: object) -> T:
    """Make *call*; turn an OSError into a StoreError with the path and the reason."""
    try:
        return call(*args)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise StoreError(f"{system_reason(error)}{where}") from error


def open_file(path: Path) -> tuple[int, os.stat_result] | None:
    """Open the regular file at *path* for reading; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _PLAIN)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if S_ISREG(status.st_mode):
            return descriptor, status
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def open_locked(path: str, flags: int) -> int | None:
    """Open and lock the file at *path*; None if another process or transfer holds the lock.

    On a volume without locks, a file that was created with O_EXCL counts as locked by its creator; any
    other counts as locked by another process. After an error, one that was created is removed.
    """
    descriptor = os.open(path, flags | _PLAIN, WRITABLE)
    try:
        if not _lock(descriptor):
            if flags & os.O_EXCL:
                return descriptor
            raise BlockingIOError
        # The file may have been renamed or removed between open and lock.
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        if flags & os.O_EXCL:
            with suppress(OSError):
                os.unlink(path)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    """Lock a file; return whether the volume supports locks. Raises BlockingIOError if it is locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        return False
    return True


def sync(descriptor: int) -> None:
    """Flush a file to the disk, if the volume supports that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def persist(path: Path, root: Path) -> None:
    """Flush a file, if it exists, and all folders above it up to *root* to the disk."""
    for each in (path, *path.parents):
        _sync_path(each)
        if each == root:
            return


def _sync_path(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def space_of(root: Path) -> Space:
    """Return the space of the volume that *root* is on, or will be."""
    found = root
    # The root is created when something is stored; before that, its parent is on the same volume.
    while not found.exists() and found != found.parent:
        found = found.parent
    status = os.statvfs(found)
    return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def make_read_only(descriptor: int) -> bool:
    """Remove all write permissions of a file; return whether that succeeded."""
    try:
        os.fchmod(descriptor, SEALED)
        return is_read_only(os.fstat(descriptor))
    except OSError:
        return False


def is_read_only(status: os.stat_result) -> bool:
    """Whether a file is read-only for everyone."""
    return not status.st_mode & 0o222


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*, in as many calls as needed."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def place(source: str, target: Path) -> None:
    """Rename *source* to *target*; try again if its folder is removed meanwhile because it was empty."""
    for attempt in range(3):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _replace(source, target)
            return
        except FileNotFoundError:
            if attempt == 2:
                raise


def _replace(source: str, target: Path) -> None:
    try:
        os.replace(source, target)
    except FileExistsError:
        # Some volumes cannot rename over an existing file.
        os.unlink(target)
        os.replace(source, target)
    except IsADirectoryError:
        # Another program has created a folder at the object's path; one with content stays.
        os.rmdir(target)
        os.replace(source, target)


def at_hand(descriptor: int, offset: int) -> bool:
    """Whether the byte at *offset* of a file can be read without waiting."""
    if _NOWAIT is None:
        return False
    try:
        return os.preadv(descriptor, (bytearray(1),), offset, _NOWAIT) == 1
    except OSError:
        return False


def read_cached(descriptor: int, offset: int, length: int) -> bytes | None:
    """Read from the page cache, on the reactor; None if the kernel would have to wait."""
    if _NOWAIT is None or length > len(_SCRATCH):
        return None
    buffer = memoryview(_SCRATCH)[:length]
    try:
        count = os.preadv(descriptor, (buffer,), offset, _NOWAIT)
    except OSError:
        return None
    # Fewer bytes: the rest is not in the page cache, or beyond the end of the file.
    return bytes(buffer) if count == length else None


class Descriptor:
    """A file descriptor that is closed once its users have closed it and no thread uses it any more.

    *grows*: the file is written to, always within `changing`.
    """

    def __init__(self, number: int, reads: RunInThread, *, grows: bool = False) -> None:
        self.number = number
        self._reads = reads
        self._users = 1
        self._held = 0
        self._sendable: bool | None = None
        self._changing = Lock() if grows else None
        self._change_waits = False

    def share(self) -> Descriptor:
        """Return itself, for one more user, who must close it too."""
        self._users += 1
        return self

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change a file that grows, in a thread: nothing of it is sent meanwhile.

        On XFS, sending would wait for the change, and so for the disk.
        """
        self._change_waits = True
        with self._changing or nullcontext():
            self._change_waits = False
            yield

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read up to *length* bytes, off the reactor."""
        return self.hold(self._reads(as_store_error, os.pread, self.number, length, offset))

    def hold(self, work: Deferred[T]) -> Deferred[T]:
        """Keep the descriptor open until *work* is done, even if the result is cancelled."""
        self._held += 1
        done: Deferred[T] = Deferred()
        work.addBoth(self._release)
        work.chainDeferred(done)
        return done

    def _release(self, result: T) -> T:
        self._held -= 1
        self._close_if_unused()
        return result

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Read from the page cache, on the reactor; None if the kernel would have to wait.

        Where the system does not know RWF_NOWAIT (before Linux 4.14, some file systems), it is
        always None, and every read goes through a thread.
        """
        return read_cached(self.number, offset, length) if self._users else None

    @property
    def sendable(self) -> bool:
        """Whether any part of the file can be sent without reading it. Never waits."""
        if self._sendable is None:
            self._sendable = page_cache.can_tell(self.number)
        return self._sendable

    def can_send(self, offset: int) -> bool:
        """Whether bytes at *offset* are likely to be sent by `send_now`. Never waits."""
        return bool(self._users) and self.sendable and at_hand(self.number, offset)

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Send from the page cache to a socket, as `IStoredObject` says.

        Never waits for the disk, unless the kernel drops pages just before they are sent.
        The kernel does not copy: if another program overwrites the file, bytes may change in transit.
        """
        if not (self._users and self.sendable):
            return 0
        if self._changing is None:
            return self._send(socket, offset, length)
        # A waiting write goes first, however many readers there are.
        if self._change_waits or not self._changing.acquire(blocking=False):
            return 0
        try:
            return self._send(socket, offset, length)
        finally:
            self._changing.release()

    def _send(self, socket: int, offset: int, length: int) -> int:
        count = page_cache.resident(self.number, offset, length)
        if not count:
            return 0
        try:
            return os.sendfile(socket, self.number, offset, count)
        except BlockingIOError:
            raise
        except OSError:
            # An error of the file or of the socket: the next read or write will show which.
            return 0

    def __del__(self) -> None:
        # If the caller was cancelled before the file was opened, nobody else closes it.
        self._users = self._held = 0
        self._close_if_unused()

    def close(self) -> None:
        """Close it for one user; the last one closes the descriptor, after running work."""
        self._users = max(0, self._users - 1)
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not (self._users or self._held) and self.number >= 0:
            os.close(self.number)
            self.number = -1


Opened = tuple[Descriptor, os.stat_result, bytes]
"""An open file, its status and its first bytes."""


def open_with_head(path: Path, reads: RunInThread, head: int, start: int) -> Opened | None:
    """Open a file, and read *head* bytes at *start* unless they are in memory; None if there is none."""
    opened = open_file(path)
    if opened is None:
        return None
    number, status = opened
    descriptor = Descriptor(number, reads)
    try:
        first = os.pread(number, head, start) if head and not at_hand(number, start) else b""
    except BaseException:
        descriptor.close()
        raise
    return descriptor, status, first
