"""Objects of the filesystem driver: stored files and writers."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from oci_registry.storage.drivers.files import (
    Descriptor,
    as_store_error,
    is_read_only,
    read_cached,
    sync,
    write_all,
)
from oci_registry.storage.interfaces import (
    IObjectWriter,
    IStoredObject,
    KeptObject,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from oci_registry.storage.drivers.filesystem import FilesystemDriver


@implementer(IStoredObject)
class StoredFile:
    """An object that is open for reading."""

    def __init__(self, info: ObjectInfo, head: bytes, descriptor: Descriptor) -> None:
        self.info = info
        self.head = head
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._descriptor.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._descriptor.read_now(offset, length)

    def send_now(self, socket: int, offset: int, length: int) -> int | None:
        return self._descriptor.send_now(socket, offset, length)

    def keep(self) -> KeptObject | None:
        number = self._descriptor.keep()
        if number is None:
            return None
        kept = KeptFile(number, self.info.size)
        return kept if kept.is_there() else None

    def close(self) -> None:
        self._descriptor.close()


class KeptFile:
    """A file that is read-only, and of *size* bytes, for as long as it is in the store."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    def is_there(self) -> bool:
        """Whether it is still in the store, unchanged. This does not wait: the file is open."""
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return False
        return status.st_nlink > 0 and status.st_size == self._size and is_read_only(status)

    def part(self, offset: int, length: int) -> bytes | None:
        """Return these bytes, as `KeptObject` says."""
        return read_cached(self._descriptor, offset, length) if self.is_there() else None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = close


@implementer(IObjectWriter)
class FileWriter:
    """A new object that grows at *path* until it is committed or cancelled."""

    def __init__(self, driver: FilesystemDriver, key: str, path: str, descriptor: int) -> None:
        self._driver = driver
        self._key = key
        self._path = path
        self._descriptor = Descriptor(descriptor, driver.lanes.lookup)
        # Commit and cancel run in threads, possibly at the same time when the daemon stops.
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

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        # Closed, the descriptor's number could become that of another file while the thread writes.
        self._failed = True
        self._descriptor.hold(returned)
        return StoreUnavailable(f"writing {self._path} took longer than {seconds:g} s")

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._descriptor.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._descriptor.read_now(offset, length)

    def commit(self) -> Deferred[None]:
        committing = self._driver.lanes.commit(as_store_error, self._commit)
        return self._descriptor.hold(committing.addCallback(self._driver.remember))

    def _commit(self) -> None:
        with self._lock:
            if self._failed:
                raise StoreError(f"cannot commit what was cancelled or is incomplete: {self._path}")
            if not self._ended:
                self._failed = True
                sync(self._descriptor.number)
                self._driver.publish(self._descriptor.number, self._path, self._key, verified=True)
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
