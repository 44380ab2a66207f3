"""A driver that keeps objects as files below a directory.

A new object grows in ``transfers/`` on the same volume, under a lock that dies with its process, and is
renamed into place when it is complete and on the disk. What is in place through us is read-only: that
is how our own files are told from files that somebody else put there, without a second look-up.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from uuid import uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from oci_registry.storage.drivers.files import (
    SEALED,
    Descriptor,
    as_store_error,
    open_file,
    open_locked,
    place,
    write_all,
)
from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
)
from oci_registry.storage.keys import check_key
from oci_registry.streams.threads import Lanes

TRANSFERS = "transfers"
"""Where objects grow; what is in it belongs to nobody once its lock is free."""
_LISTED_AT_ONCE = 500


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, status.st_mtime, not status.st_mode & 0o222)


@implementer(IStoredObject)
class _StoredFile:
    def __init__(self, info: ObjectInfo, head: bytes, descriptor: Descriptor) -> None:
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
        self._path = path
        self._descriptor = Descriptor(descriptor, driver.lanes.lookup)
        # Commit and cancel run in threads; who stops while a commit is under way cancels beside it.
        self._lock = Lock()
        self._ended = False
        self._failed = False

    def append(self, data: bytes) -> None:
        try:
            as_store_error(write_all, self._descriptor.number, data)
        except StoreError:
            # Part of it may have been written.
            self._failed = True
            raise

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._descriptor.read_soon(offset, length)

    def commit(self) -> Deferred[None]:
        return self._descriptor.hold(self._driver.lanes.commit(as_store_error, self._commit))

    def _commit(self) -> None:
        with self._lock:
            if self._failed:
                raise StoreError(f"cannot commit what was cancelled or is incomplete: {self._path}")
            if not self._ended:
                self._failed = True
                self._driver.publish(self._descriptor.number, self._path, self._target, sync=True)
                self._failed = False
                self._ended = True

    def cancel(self) -> Deferred[None]:
        return self._driver.lanes.housekeeping(as_store_error, self._cancel)

    def _cancel(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = self._failed = True
                with suppress(FileNotFoundError):
                    os.unlink(self._path)

    def close(self) -> None:
        self._descriptor.close()


@implementer(IDriver)
class FilesystemDriver:
    """Bytes at keys below *root*; *lanes* are the threads it works in."""

    sweep_interval = 300.0

    def __init__(self, root: str, lanes: Lanes, clock: IReactorTime) -> None:
        self.lanes = lanes
        self.clock = clock
        self._root = Path(root)
        self._transfers = self._root / TRANSFERS

    def path(self, key: str) -> Path:
        """Return the file of *key*; ValueError for a key that could leave the root."""
        return self._root / check_key(key)

    def start(self) -> Deferred[None]:
        return self.lanes.housekeeping(as_store_error, self._remove_leftovers)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return self.start().addCallback(lambda _: True)

    def _remove_leftovers(self) -> None:
        self._transfers.mkdir(parents=True, exist_ok=True)
        failed: OSError | None = None
        with os.scandir(self._transfers) as entries:
            for entry in entries:
                try:
                    self._remove_leftover(entry)
                except OSError as error:
                    failed = error
        if failed is not None:
            raise failed

    def _remove_leftover(self, entry: os.DirEntry[str]) -> None:
        """Remove what an earlier process has left; not what a living one holds, nor a folder."""
        if entry.is_dir(follow_symlinks=False):
            return
        with suppress(FileNotFoundError):
            if entry.is_symlink():
                os.unlink(entry.path)
                return
            # For reading only: one that was about to be renamed is read-only already.
            descriptor = open_locked(entry.path, os.O_RDONLY)
            if descriptor is not None:
                try:
                    os.unlink(entry.path)
                finally:
                    os.close(descriptor)

    def check(self) -> Deferred[None]:
        return self.lanes.lookup(as_store_error, self._check)

    def check_reading(self) -> Deferred[None]:
        return self.check()

    def check_writing(self) -> Deferred[None]:
        return self.check()

    def _check(self) -> None:
        path, descriptor = self._grow(None)
        try:
            write_all(descriptor, b"probe")
        finally:
            os.close(descriptor)
            os.unlink(path)

    def _grow(self, name: str | None) -> tuple[str, int]:
        """Open and lock an empty file to write to, called *name* if nobody holds that."""
        self._transfers.mkdir(parents=True, exist_ok=True)
        for attempt in (name, uuid4().hex, uuid4().hex):
            if attempt is None:
                continue
            path = str(self._transfers / attempt)
            try:
                descriptor = open_locked(path, os.O_RDWR | os.O_CREAT)
            except OSError:
                # What cannot be opened there is not ours; under another name it must work.
                if attempt != name:
                    raise
                continue
            if descriptor is not None:
                os.ftruncate(descriptor, 0)
                return path, descriptor
        raise StoreError(f"cannot create a file in {self._transfers}")

    def publish(self, descriptor: int, path: str, target: Path, *, sync: bool) -> None:
        """Seal the file at *path* and rename it to *target*; on the disk first, if *sync*."""
        if sync:
            os.fsync(descriptor)
        now = self.clock.seconds()
        os.utime(descriptor, (now, now))
        os.fchmod(descriptor, SEALED)
        place(path, target)

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self.lanes.lookup(as_store_error, self._stat, key)

    def _stat(self, key: str) -> ObjectInfo | None:
        try:
            status = os.lstat(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(key, status) if S_ISREG(status.st_mode) else None

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        return self.lanes.lookup(as_store_error, self._open, key, head, start)

    def _open(self, key: str, head: int, start: int) -> IStoredObject | None:
        opened = open_file(self.path(key))
        if opened is None:
            return None
        descriptor = Descriptor(opened[0], self.lanes.lookup)
        try:
            first = os.pread(descriptor.number, head, start) if head else b""
        except BaseException:
            descriptor.close()
            raise
        return _StoredFile(_info(key, opened[1]), first, descriptor)

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self.lanes.lookup(as_store_error, self._get, key, limit)

    def _get(self, key: str, limit: int) -> bytes | None:
        opened = open_file(self.path(key))
        if opened is None:
            return None
        with open(opened[0], "rb") as file:
            data = file.read(limit + 1)
        return data if len(data) <= limit else None

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self.lanes.commit(as_store_error, self._put, key, data)

    def _put(self, key: str, data: bytes) -> None:
        target = self.path(key)
        path, descriptor = self._grow(None)
        try:
            write_all(descriptor, data)
            self.publish(descriptor, path, target, sync=False)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        return self.lanes.lookup(as_store_error, self._create, key)

    def _create(self, key: str) -> IObjectWriter:
        self.path(key)
        # The place follows from the key, so that another process can find the transfer; if one is
        # at it already, this one goes on beside it and the commits replace each other.
        path, descriptor = self._grow(key.replace("/", "-"))
        return _FileWriter(self, key, path, descriptor)

    def seal(self, key: str) -> Deferred[None]:
        return self.lanes.housekeeping(as_store_error, self._seal, key)

    def _seal(self, key: str) -> None:
        opened = open_file(self.path(key))
        if opened is not None:
            try:
                os.fchmod(opened[0], SEALED)
            finally:
                os.close(opened[0])

    def touch(self, key: str, used: float) -> Deferred[None]:
        return self.lanes.housekeeping(as_store_error, self._touch, key, used)

    def _touch(self, key: str, used: float) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.utime(self.path(key), (used, used), follow_symlinks=False)

    def delete(self, key: str) -> Deferred[bool]:
        return self.lanes.housekeeping(as_store_error, self._delete, key)

    def _delete(self, key: str) -> bool:
        path = self.path(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        self._tidy(path.parent)
        return True

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        return self.lanes.housekeeping(
            as_store_error, lambda: [key for key in keys if self._delete(key)]
        )

    def link(self, key: str) -> Deferred[str | None]:
        self.path(key)
        return succeed(None)

    def _tidy(self, folder: Path) -> None:
        """Remove folders that have become empty, up to the root."""
        with suppress(OSError):
            while self._root not in (folder.parent, folder):
                folder.rmdir()
                folder = folder.parent

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        walk = self._walk(prefix)
        while batch := await self.lanes.housekeeping(
            as_store_error, list, islice(walk, _LISTED_AT_ONCE)
        ):
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
