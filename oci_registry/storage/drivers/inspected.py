"""Files that are inspected: read once, independently of clients, and moved away if they are corrupt."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from oci_registry.storage.drivers.files import Descriptor, as_store_error, at_hand, open_file, place
from oci_registry.storage.interfaces import (
    IInspectedObject,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)
from oci_registry.streams.threads import RunInThread

if TYPE_CHECKING:
    from oci_registry.storage.drivers.filesystem import FilesystemDriver

WITHDRAWN = 0o600
"""The mode of a file that is moved away: files that are kept open are served only while they are read-only."""
_NOT_OF_THE_FILE = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR),
        *(errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
        *(errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
    }
)
"""Errors of this process, of the volume or of its server, which say nothing about a single file."""
T = TypeVar("T")


def _as_file_error(call: Callable[..., T], *args: object) -> T:
    """Make *call*; raise StoreError if the file is unreadable, StoreUnavailable if something else fails."""
    try:
        return as_store_error(call, *args)
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NOT_OF_THE_FILE:
            raise StoreUnavailable(str(error)) from cause
        raise


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two states are those of the same unchanged file."""
    unchanged = (one.st_size, one.st_ctime_ns) == (other.st_size, other.st_ctime_ns)
    return os.path.samestat(one, other) and unchanged


@implementer(IInspectedObject)
class InspectedFile:
    """The file at *path*; *descriptor*: None if it is *unreadable*, for that reason.

    *run*: the threads in which the file is moved.
    """

    def __init__(
        self,
        driver: FilesystemDriver,
        info: ObjectInfo,
        path: Path,
        status: os.stat_result,
        descriptor: Descriptor | None,
        unreadable: str,
        run: RunInThread,
    ) -> None:
        self.info = info
        self._driver = driver
        self._path = path
        self._status = status
        self._descriptor = descriptor
        self._unreadable = unreadable
        self._run = run
        # A file that was not cached before must not push others out of the page cache.
        self._cold = descriptor is not None and not (
            at_hand(descriptor.number, 0) and at_hand(descriptor.number, max(0, info.size - 1))
        )

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        descriptor = self._descriptor
        if descriptor is None:
            return fail(StoreError(self._unreadable))
        reading = self._run(_as_file_error, self._read, descriptor.number, offset, length)
        return descriptor.hold(reading)

    def _read(self, number: int, offset: int, length: int) -> bytes:
        data = os.pread(number, length, offset)
        if self._cold and hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(number, offset, length, os.POSIX_FADV_DONTNEED)
        return data

    def withdraw(self, target: str | None) -> Deferred[bool]:
        self._driver.drop(self.info.key)
        path = None if target is None else self._driver.path(target)
        return self._run(as_store_error, self._withdraw, path)

    def _withdraw(self, target: Path | None) -> bool:
        """In a thread: move the file to *target*, or remove it, if it is still the same."""
        try:
            if not _is_same(self._status, os.lstat(self._path)):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        with suppress(OSError):
            os.chmod(self._path, WITHDRAWN)
            # That counts as a change.
            self._status = os.lstat(self._path)
        if target is None:
            os.unlink(self._path)
        else:
            place(str(self._path), target)
        self._driver.forget(self.info.key)
        return True

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._unreadable = f"{self.info.key} is closed"
        if descriptor is not None:
            descriptor.close()


def inspect(
    driver: FilesystemDriver, key: str, path: Path, run: RunInThread
) -> InspectedFile | None:
    """Open the file of *key*, in a thread; None if there is none. Raises OSError."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not S_ISREG(status.st_mode):
        return None
    descriptor, reason = None, ""
    try:
        opened = _as_file_error(open_file, path)
    except StoreUnavailable:
        raise
    except StoreError as error:
        reason = str(error)
    else:
        if opened is None:
            return None
        number, status = opened
        descriptor = Descriptor(number, run)
    return InspectedFile(driver, driver.info(key, status), path, status, descriptor, reason, run)
