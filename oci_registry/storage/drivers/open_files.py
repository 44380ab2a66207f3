"""Files that were opened lately and are kept open, so that opening them again needs no thread."""

from __future__ import annotations

import os
from collections import OrderedDict

from attrs import define, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from oci_registry.storage.drivers.files import Descriptor


@frozen
class OpenFilesLimits:
    """*number*: the maximum number of open files. *idle*: seconds without use after which one is closed."""

    number: int = 128
    idle: float = 10.0


class OpenFiles:
    """Open files by key; the least recently used one is closed first. On the reactor only.

    A file is kept only if getting its status never waits, and is reused only while it is unchanged and
    still has a name. If it is removed, its space is free after two idle times at most, and at once with
    `drop`, unless it is being read.
    """

    def __init__(self, clock: IReactorTime, limits: OpenFilesLimits = OpenFilesLimits()) -> None:
        self._clock = clock
        self._limits = limits
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._sweep: IDelayedCall | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def get(self, key: str) -> tuple[Descriptor, os.stat_result] | None:
        """Return the file of *key*, which the caller must close, and its status; None if it is not kept."""
        found = self._find(key)
        return None if found is None else (found[0].descriptor.share(), found[1])

    def part(self, key: str, size: int, offset: int, length: int) -> bytes | None:
        """Return bytes of the file of *key*, as `KeptObjects` says."""
        found = self._find(key)
        if found is None or found[1].st_size != size:
            return None
        return found[0].descriptor.read_now(offset, length)

    def _find(self, key: str) -> tuple[_OpenFile, os.stat_result] | None:
        """Return a file that is unchanged, and its status; this counts as a use."""
        file = self._files.get(key)
        if file is None:
            return None
        status = os.fstat(file.descriptor.number)
        if _mark(status) != file.mark:
            self.drop(key)
            return None
        file.used = self._clock.seconds()
        self._files.move_to_end(key)
        return file, status

    def keep(self, key: str, descriptor: Descriptor, status: os.stat_result) -> None:
        """Keep a file, if it may be kept; the caller must close it nevertheless."""
        if self._closed or not (status.st_nlink and descriptor.sendable):
            return
        self.drop(key)
        if len(self._files) >= self._limits.number:
            self.drop(next(iter(self._files)))
        self._files[key] = _OpenFile(descriptor.share(), _mark(status), self._clock.seconds())
        if self._sweep is None:
            self._sweep = self._clock.callLater(self._limits.idle, self._close_idle)

    def drop(self, key: str) -> None:
        """Keep a file no longer: it is closed when its last reader has closed it."""
        file = self._files.pop(key, None)
        if file is not None:
            file.descriptor.close()

    def _close_idle(self) -> None:
        self._sweep = None
        before = self._clock.seconds() - self._limits.idle
        for key, file in list(self._files.items()):
            if file.used <= before or _mark(os.fstat(file.descriptor.number)) != file.mark:
                self.drop(key)
        if self._files:
            self._sweep = self._clock.callLater(self._limits.idle, self._close_idle)

    def close(self) -> None:
        """Close all files, and keep none that is opened later. Idempotent."""
        self._closed = True
        for key in list(self._files):
            self.drop(key)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None


@define
class _OpenFile:
    """A file that is kept open, its state when it was opened, and when it was last used."""

    descriptor: Descriptor
    mark: tuple[int, ...]
    used: float


def _mark(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is written to, made writable, replaced or removed.

    Not its times: they change with each use that is recorded, and a write changes them too late.
    """
    return status.st_nlink, status.st_size, status.st_mode
