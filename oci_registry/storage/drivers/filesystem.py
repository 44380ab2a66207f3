"""A driver that keeps objects as files below a directory.

A new object grows in ``transfers/`` on the same volume, under a lock that ends with its process. It is
renamed to its final path when it is complete and on the disk. Files that we have committed are
read-only: that distinguishes them from files of other programs without a second look-up. On volumes
without permissions, `VerifiedFiles` lists them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.drivers.files import (
    Opened,
    as_store_error,
    is_read_only,
    make_read_only,
    open_file,
    open_locked,
    open_with_head,
    persist,
    place,
    space_of,
    write_all,
)
from oci_registry.storage.drivers.inspected import inspect
from oci_registry.storage.drivers.leftovers import remove_leftovers
from oci_registry.storage.drivers.objects import FileWriter, StoredFile
from oci_registry.storage.drivers.open_files import OpenFiles
from oci_registry.storage.drivers.verified import VerifiedFiles
from oci_registry.storage.drivers.walking import files_below, marked_folders
from oci_registry.storage.drivers.walking_in_order import Skipped, walk_in_order
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    Space,
    StoreError,
)
from oci_registry.storage.keys import check_key
from oci_registry.streams.threads import Lanes

T = TypeVar("T")

TRANSFERS = "transfers"
"""The folder in which objects grow; a file there is abandoned if its lock is free."""
VERIFIED = "verified"
"""The list of verified files, on a volume without permissions."""
LISTED_AT_ONCE = 100
"""Objects of a listing that are passed to the reactor together: handling them takes about a millisecond."""
_NEW_NAMES = 4
"""How many names are tried for a new file."""


@implementer(IDriver)
class FilesystemDriver:
    """Keeps bytes at keys as files below *root*; *lanes* are its threads."""

    sweep_interval = 300.0
    check_interval = 0.0
    remote = False

    _log = Logger()

    def __init__(self, root: str, lanes: Lanes, clock: IReactorTime) -> None:
        self.lanes = lanes
        self.clock = clock
        self._root = Path(root)
        self._transfers = self._root / TRANSFERS
        self._verified = VerifiedFiles(self._root / VERIFIED)
        self._open_files = OpenFiles(clock)
        self._permissions: bool | None = None
        """Whether the volume has permissions; None while that is not known."""

    def path(self, key: str) -> Path:
        """Return the file of *key*; ValueError for a key that could leave the root."""
        return self._root / check_key(key)

    def start(self) -> Deferred[None]:
        return self.lanes.housekeeping(as_store_error, self._start)

    def stop(self) -> Deferred[None]:
        self._open_files.close()
        return (
            self.lanes.housekeeping(self._verified.write)
            if self._verified.unwritten
            else succeed(None)
        )

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return self.start().addCallback(lambda _: True)

    def _start(self) -> None:
        if self._permissions is None:
            self._verified.load()
            self._permissions = self._has_permissions()
            if not self._permissions:
                self._log.warn(
                    "{root} is on a volume without permissions: verified blobs are listed in {list}",
                    root=str(self._root),
                    list=str(self._root / VERIFIED),
                )
        self._transfers.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._transfers, self.clock.seconds())

    def _has_permissions(self) -> bool:
        """Check whether a new file is writable, and can be made read-only."""
        path, descriptor = self._grow(None)
        try:
            before = is_read_only(os.fstat(descriptor))
            return not before and make_read_only(descriptor) and is_read_only(os.lstat(path))
        finally:
            os.close(descriptor)
            os.unlink(path)

    def info(self, key: str, status: os.stat_result) -> ObjectInfo:
        """Return the information about the file of *key*."""
        by_permissions = self._permissions is not False and is_read_only(status)
        sealed = by_permissions or self._verified.has(key, status)
        return ObjectInfo(key, status.st_size, status.st_mtime, sealed)

    def remember(self, result: T) -> T:
        """Write new entries of the list of verified files in the background; return *result*."""
        if self._verified.unwritten:
            self.lanes.housekeeping(self._verified.write).addErrback(self._not_written)
        return result

    def _not_written(self, failure: Failure) -> None:
        # The entries are in memory; after a restart, the files are hashed once.
        self._log.warn(
            "cannot write the list of verified blobs: {error}", error=failure.getErrorMessage()
        )

    def check(self) -> Deferred[None]:
        return self.check_writing().addCallback(lambda _: self.check_reading())

    def check_reading(self) -> Deferred[None]:
        return self.lanes.lookup(as_store_error, self._check_reading)

    def _check_reading(self) -> None:
        # An empty store can be read, even before its folder is made.
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)

    def check_writing(self) -> Deferred[None]:
        return self.lanes.begin(as_store_error, self._check_writing)

    def _check_writing(self) -> None:
        path, descriptor = self._grow(None)
        try:
            write_all(descriptor, b"probe")
        finally:
            os.close(descriptor)
            os.unlink(path)

    def space(self) -> Deferred[Space | None]:
        return self.lanes.lookup(as_store_error, space_of, self._root)

    def _grow(self, name: str | None) -> tuple[str, int]:
        """Open and lock an empty file for writing, called *name* if that is free."""
        self._transfers.mkdir(parents=True, exist_ok=True)
        # An existing file is free if its lock is; O_EXCL comes first for volumes without locks.
        attempts = [] if name is None else [(name, os.O_EXCL), (name, 0)]
        # Even a new file may be locked already, by a sweep that found it before it was locked here.
        attempts += [(uuid4().hex, os.O_EXCL) for _ in range(_NEW_NAMES)]
        for attempt, new in attempts:
            path = str(self._transfers / attempt)
            try:
                descriptor = open_locked(path, os.O_RDWR | os.O_CREAT | new)
            except OSError:
                # Another program's file may have this name; another name must work.
                if attempt != name:
                    raise
                continue
            if descriptor is not None:
                try:
                    os.ftruncate(descriptor, 0)
                except BaseException:
                    # It is locked, so it is nobody else's.
                    with suppress(OSError):
                        os.unlink(path)
                    os.close(descriptor)
                    raise
                return path, descriptor
        raise StoreError(f"cannot create a file in {self._transfers}")

    def publish(self, descriptor: int, path: str, key: str, *, verified: bool) -> None:
        """Seal the file at *path* and rename it to that of *key*; remember it, if it is *verified*."""
        now = self.clock.seconds()
        with suppress(OSError):
            # If this fails, the file keeps the time of the last write.
            os.utime(descriptor, (now, now))
        read_only = make_read_only(descriptor)
        place(path, self.path(key))
        if verified and not (read_only and self._permissions is not False):
            self._verified.add(key, os.fstat(descriptor))

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self.lanes.lookup(as_store_error, self.look, key)

    def look(self, key: str) -> ObjectInfo | None:
        """Do the same as `stat`, in this thread; raises OSError."""
        try:
            status = os.lstat(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self.info(key, status) if S_ISREG(status.st_mode) else None

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        again = self._open_files.get(key)
        if again is not None:
            descriptor, status = again
            return succeed(StoredFile(self.info(key, status), b"", descriptor, self._open_files))
        opening = self.lanes.lookup(as_store_error, self._open, key, head, start)
        return opening.addCallback(self._opened, key)

    def _open(self, key: str, head: int, start: int) -> Opened | None:
        return open_with_head(self.path(key), self.lanes.lookup, head, start)

    def _opened(self, opened: Opened | None, key: str) -> IStoredObject | None:
        if opened is None:
            return None
        descriptor, status, first = opened
        info = self.info(key, status)
        if info.sealed:
            self._open_files.keep(key, descriptor, status)
        return StoredFile(info, first, descriptor, self._open_files)

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self.lanes.lookup(as_store_error, self.fetch, key, limit)

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Do the same as `get`, in this thread; raises OSError."""
        opened = open_file(self.path(key))
        if opened is None:
            return None
        try:
            with open(opened[0], "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(opened[0])
        return data if len(data) <= limit else None

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self.lanes.commit(as_store_error, self._put, key, data)

    def _put(self, key: str, data: bytes) -> None:
        self.path(key)
        path, descriptor = self._grow(None)
        try:
            write_all(descriptor, data)
            # Small objects need no list: they are checked when they are read.
            self.publish(descriptor, path, key, verified=False)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        return self.lanes.begin(as_store_error, self._create, key)

    def _create(self, key: str) -> IObjectWriter:
        self.path(key)
        # The name follows from the key. If another process writes the same object, this one uses another
        # name, and the later commit replaces the earlier one.
        path, descriptor = self._grow(key.replace("/", "-"))
        return FileWriter(self, key, path, descriptor)

    def seal(self, key: str) -> Deferred[None]:
        sealing = self.lanes.housekeeping(as_store_error, self._seal, key)
        return sealing.addCallback(self.remember)

    def _seal(self, key: str) -> None:
        opened = open_file(self.path(key))
        if opened is not None:
            descriptor, status = opened
            try:
                if not (make_read_only(descriptor) and self._permissions is not False):
                    self._verified.add(key, status)
            finally:
                os.close(descriptor)

    def touch(self, key: str, used: float) -> Deferred[None]:
        touching = self.lanes.housekeeping(as_store_error, self._touch, key, used)
        return touching.addCallback(self.remember)

    def _touch(self, key: str, used: float) -> None:
        path = self.path(key)
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            before = os.lstat(path)
            os.utime(path, (used, used), follow_symlinks=False)
            if self._verified.has(key, before):
                self._verified.add(key, os.lstat(path))

    def delete(self, key: str) -> Deferred[bool]:
        self._open_files.drop(key)
        return self.lanes.housekeeping(as_store_error, self._delete, key)

    def _delete(self, key: str) -> bool:
        path = self.path(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        self.forget(key)
        return True

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        for key in keys:
            self._open_files.drop(key)
        return self.lanes.housekeeping(
            as_store_error, lambda: [key for key in keys if self._delete(key)]
        )

    def persist(self, key: str) -> Deferred[None]:
        return self.lanes.commit(as_store_error, persist, self.path(key), self._root)

    def link(self, key: str) -> Deferred[str | None]:
        self.path(key)
        return succeed(None)

    def _tidy(self, folder: Path) -> None:
        """Remove folders that have become empty, up to the root."""
        with suppress(OSError):
            while self._root not in (folder.parent, folder):
                folder.rmdir()
                folder = folder.parent

    def marked(
        self, prefix: str, mark: str, after: str, limit: int
    ) -> Deferred[tuple[Sequence[str], bool]]:
        return self.lanes.housekeeping(
            as_store_error, marked_folders, self.path(prefix), mark, after, limit
        )

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        found = self.walk(prefix)
        while batch := await self._some(found):
            for info in batch:
                yield info

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Walk a tree, in this thread; files may be added and removed meanwhile. Raises OSError."""
        for key, entry in files_below(self.path(prefix), prefix):
            with suppress(FileNotFoundError):
                yield self.info(key, entry.stat(follow_symlinks=False))

    async def list_from(self, prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        skipped = Skipped()
        found = walk_in_order(prefix, after, self.path, self.info, skipped)
        while batch := await self._some(found):
            for info in batch:
                yield info
        skipped.check()

    def _some(self, found: Iterator[ObjectInfo]) -> Deferred[tuple[ObjectInfo, ...]]:
        return self.lanes.housekeeping(as_store_error, tuple, islice(found, LISTED_AT_ONCE))

    def inspect(self, key: str) -> Deferred[IInspectedObject | None]:
        run = self.lanes.housekeeping
        return run(as_store_error, inspect, self, key, self.path(key), run)

    def drop(self, key: str) -> None:
        """Stop keeping the file of *key* open."""
        self._open_files.drop(key)

    def forget(self, key: str) -> None:
        """Forget the file of *key*, which has been removed; in a thread."""
        self._verified.forget(key)
        self._tidy(self.path(key).parent)
