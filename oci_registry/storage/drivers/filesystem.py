"""A driver that keeps objects as files below a directory.

A new object grows in ``transfers/`` on the same volume, under a lock that dies with its process, and is
renamed into place when it is complete and on the disk. What is in place through us is read-only: that
is how our own files are told from files that somebody else put there, without a second look-up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
)
from oci_registry.streams.threads import RunInThread

TRANSFERS = "transfers"
"""Where objects grow; what is in it belongs to nobody once its lock is free."""
SEALED = 0o444
WRITABLE = 0o644
_LISTED_AT_ONCE = 500
# What the reactor thread reads into before it is copied into a bytes object: a buffer that stays in
# the processor's cache, where a new one would be cleared and mapped for each read.
_SCRATCH = bytearray(256 * 1024)
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)

T = TypeVar("T")


def _as_store_error(call: Callable[..., T], *args: object) -> T:
    """Make *call*, its OSError a StoreError that names the path and the reason."""
    try:
        return call(*args)
    except OSError as error:
        raise StoreError(
            f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        ) from error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, status.st_mtime, not status.st_mode & 0o222)


def _place(source: str, target: Path) -> None:
    """Rename *source* to *target*; its folder may vanish under us while empty ones are tidied away."""
    for attempt in range(3):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(source, target)
            return
        except FileNotFoundError:
            if attempt == 2:
                raise


def _lock(descriptor: int) -> bool:
    """Lock an open file for this process; return False when another one holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_growing(path: str) -> int | None:
    """Open and lock the file at *path*, empty; None when another transfer holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, WRITABLE)
    try:
        # The file may have been renamed into place between open and lock: only the one that is still
        # at the path is ours to empty.
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            os.ftruncate(descriptor, 0)
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


class _Descriptor:
    """A file descriptor that is closed when asked to and no read is under way in a thread."""

    def __init__(self, descriptor: int, reads: RunInThread) -> None:
        self.number = descriptor
        self._reads = reads
        self._reading = 0
        self._closing = False

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        self._reading += 1
        done: Deferred[bytes] = self._reads(_as_store_error, os.pread, self.number, length, offset)
        return done.addBoth(self._read_done)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Read from the page cache, without a thread; None if the kernel would have to wait.

        Where the system does not know RWF_NOWAIT (before Linux 4.14, some file systems), it is
        always None, and every read goes through a thread.
        """
        if _NOWAIT is None or self._closing or length > len(_SCRATCH):
            return None
        buffer = memoryview(_SCRATCH)[:length]
        try:
            count = os.preadv(self.number, (buffer,), offset, _NOWAIT)
        except OSError:
            return None
        # Less than was asked for: the rest is not in memory, or not in the file; `read` will tell.
        return bytes(buffer) if count == length else None

    def _read_done(self, result: bytes) -> bytes:
        self._reading -= 1
        if self._closing:
            self.close()
        return result

    def __del__(self) -> None:
        # Whoever asked for the file may have left before it was opened: then nobody closes it.
        self._reading = 0
        self.close()

    def close(self) -> None:
        self._closing = True
        if not self._reading and self.number >= 0:
            os.close(self.number)
            self.number = -1


@implementer(IStoredObject)
class _StoredFile:
    def __init__(self, info: ObjectInfo, head: bytes, descriptor: _Descriptor) -> None:
        self.info = info
        self.head = head
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._descriptor.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._descriptor.read_now(offset, length)

    def close(self) -> None:
        self._descriptor.close()


@implementer(IObjectWriter)
class _FileWriter:
    def __init__(self, driver: FilesystemDriver, key: str, path: str, descriptor: int) -> None:
        self._driver = driver
        self._target = driver.path(key)
        self._path: str | None = path
        self._number = descriptor
        self._descriptor = _Descriptor(descriptor, driver.reads)

    def append(self, data: bytes) -> None:
        _as_store_error(self._append, data)

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._number, left) :]

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        at_hand = self._descriptor.read_now(offset, length)
        return self._descriptor.read(offset, length) if at_hand is None else succeed(at_hand)

    def commit(self) -> Deferred[None]:
        return self._driver.upkeep(_as_store_error, self._commit)

    def _commit(self) -> None:
        if self._path is None:
            return
        os.fsync(self._number)
        now = self._driver.clock.seconds()
        os.utime(self._number, (now, now))
        os.fchmod(self._number, SEALED)
        _place(self._path, self._target)
        self._path = None

    def cancel(self) -> Deferred[None]:
        return self._driver.upkeep(_as_store_error, self._cancel)

    def _cancel(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        self._descriptor.close()


@implementer(IDriver)
class FilesystemDriver:
    """Bytes at keys below *root*.

    *reads* runs what a client waits for; *upkeep* runs the rest: commits, listings, deletions.
    """

    def __init__(
        self, root: str, reads: RunInThread, upkeep: RunInThread, clock: IReactorTime
    ) -> None:
        self.reads = reads
        self.upkeep = upkeep
        self.clock = clock
        self._root = Path(root)
        self._transfers = self._root / TRANSFERS

    def path(self, key: str) -> Path:
        """Return the file of *key*; ValueError for a key that could leave the root."""
        if (
            not key
            or key.startswith("/")
            or "\0" in key
            or not {".", "..", ""}.isdisjoint(key.split("/"))
        ):
            raise ValueError(f"not a key: {key!r}")
        return self._root / key

    def start(self) -> Deferred[None]:
        return self.upkeep(_as_store_error, self._start)

    def _start(self) -> None:
        self._transfers.mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(self._transfers):
            with suppress(FileNotFoundError):
                descriptor = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if _lock(descriptor):
                        os.unlink(entry.path)
                finally:
                    os.close(descriptor)

    def check(self) -> Deferred[None]:
        return self.upkeep(_as_store_error, self._check)

    def _check(self) -> None:
        probe = self._temporary()
        try:
            self._write_whole(probe, b"probe")
        finally:
            with suppress(FileNotFoundError):
                os.unlink(probe)

    def _temporary(self) -> str:
        return str(self._transfers / uuid4().hex)

    def _write_whole(self, path: str, data: bytes) -> None:
        self._transfers.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, WRITABLE)
        try:
            _lock(descriptor)
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            now = self.clock.seconds()
            os.utime(descriptor, (now, now))
            os.fchmod(descriptor, SEALED)
        finally:
            os.close(descriptor)

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self.reads(_as_store_error, self._stat, key)

    def _stat(self, key: str) -> ObjectInfo | None:
        try:
            status = os.stat(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(key, status) if S_ISREG(status.st_mode) else None

    def open(self, key: str, head: int = 0) -> Deferred[IStoredObject | None]:
        return self.reads(_as_store_error, self._open, key, head)

    def _open(self, key: str, head: int) -> IStoredObject | None:
        try:
            descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                os.close(descriptor)
                return None
            first = os.pread(descriptor, head, 0) if head else b""
        except BaseException:
            os.close(descriptor)
            raise
        return _StoredFile(_info(key, status), first, _Descriptor(descriptor, self.reads))

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self.reads(_as_store_error, self._get, key, limit)

    def _get(self, key: str, limit: int) -> bytes | None:
        try:
            with open(self.path(key), "rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return data if len(data) <= limit else None

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self.upkeep(_as_store_error, self._put, key, data)

    def _put(self, key: str, data: bytes) -> None:
        path = self._temporary()
        try:
            self._write_whole(path, data)
            _place(path, self.path(key))
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise

    def create(self, key: str) -> Deferred[IObjectWriter]:
        return self.upkeep(_as_store_error, self._create, key)

    def _create(self, key: str) -> IObjectWriter:
        self.path(key)
        self._transfers.mkdir(parents=True, exist_ok=True)
        # The place follows from the key, so that another process can find the transfer; if one is
        # at it already, this one goes on beside it and the commits replace each other.
        path = str(self._transfers / key.replace("/", "-"))
        descriptor = _open_growing(path)
        if descriptor is None:
            path = self._temporary()
            descriptor = _open_growing(path)
        if descriptor is None:
            raise StoreError(f"cannot create {path}")
        return _FileWriter(self, key, path, descriptor)

    def seal(self, key: str) -> Deferred[None]:
        return self.upkeep(_as_store_error, self._if_there, os.chmod, key, SEALED)

    def touch(self, key: str, used: float) -> Deferred[None]:
        return self.upkeep(_as_store_error, self._if_there, os.utime, key, (used, used))

    def _if_there(self, call: Callable[[Path, object], None], key: str, argument: object) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            call(self.path(key), argument)

    def delete(self, key: str) -> Deferred[bool]:
        return self.upkeep(_as_store_error, self._delete, key)

    def _delete(self, key: str) -> bool:
        path = self.path(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self._tidy(path.parent)
        return True

    def _tidy(self, folder: Path) -> None:
        """Remove folders that have become empty, up to the root."""
        with suppress(OSError):
            while self._root not in (folder.parent, folder):
                folder.rmdir()
                folder = folder.parent

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        walk = self._walk(prefix)
        while batch := await self.upkeep(_as_store_error, list, islice(walk, _LISTED_AT_ONCE)):
            for info in batch:
                yield info

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """In a thread: go through a tree, whatever is added to it or removed meanwhile."""
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(self.path(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            with entries:
                for entry in entries:
                    key = f"{folder}/{entry.name}"
                    with suppress(FileNotFoundError):
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(key)
                        elif entry.is_file(follow_symlinks=False):
                            yield _info(key, entry.stat(follow_symlinks=False))
