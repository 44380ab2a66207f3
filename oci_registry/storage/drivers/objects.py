"""Objects of the filesystem driver: stored files and writers."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from oci_registry.storage.drivers.files import (
    Descriptor,
    as_store_error,
    sync,
    write_all,
)
from oci_registry.storage.drivers.open_files import OpenFiles
from oci_registry.storage.interfaces import (
    IObjectWriter,
    IStoredObject,
    KeptObjects,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from oci_registry.storage.drivers.filesystem import FilesystemDriver


@implementer(IStoredObject)
class StoredFile:
    """An object that is open for reading; *files*: the table in which it may stay open."""

    def __init__(
        self, info: ObjectInfo, head: bytes, descriptor: Descriptor, files: OpenFiles
    ) -> None:
        self.info = info
        self._files = files
        self.head = head
        self.shared = descriptor.number if descriptor.sendable else None
        self._descriptor = descriptor
        self._closed = False

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        if self._closed:
            return fail(StoreError(f"{self.info.key} is closed"))
        return self._descriptor.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return None if self._closed else self._descriptor.read_now(offset, length)

    def can_send(self, offset: int) -> bool:
        return not self._closed and self._descriptor.can_send(offset)

    def send_now(self, socket: int, offset: int, length: int) -> int:
        return 0 if self._closed else self._descriptor.send_now(socket, offset, length)

    def keep(self) -> KeptObjects | None:
        return self._files if self.info.key in self._files else None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._descriptor.close()


@implementer(IObjectWriter)
class FileWriter:
    """A new object that grows at *path* until it is committed or cancelled."""

    def __init__(self, driver: FilesystemDriver, key: str, path: str, descriptor: int) -> None:
        self._driver = driver
        self._key = key
        self._path = path
        self._descriptor = Descriptor(descriptor, driver.lanes.lookup, grows=True)
        # Commit and cancel run in threads, possibly at the same time when the daemon stops.
        self._lock = Lock()
        self._ended = False
        self._failed = False

    def append(self, data: bytes) -> None:
        try:
            with self._descriptor.changing():
                as_store_error(write_all, self._descriptor.number, data)
        except StoreError:
            # Part of it may have been written.
            self._failed = True
            raise

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        # If it were closed now, its number could be reused for another file while the thread writes.
        self._failed = True
        self._descriptor.hold(returned)
        return StoreUnavailable(f"writing {self._path} took longer than {seconds:g} s")

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._descriptor.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._descriptor.read_now(offset, length)

    def can_send(self, offset: int) -> bool:
        return self._descriptor.can_send(offset)

    def send_now(self, socket: int, offset: int, length: int) -> int:
        return self._descriptor.send_now(socket, offset, length)

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
                with self._descriptor.changing():
                    number = self._descriptor.number
                    self._driver.publish(number, self._path, self._key, verified=True)
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
