"""Room in the store for a blob, before it is written."""

from __future__ import annotations

from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import IObjectWriter
from oci_registry.storage.passing import PassingWriter

T = TypeVar("T")

Release = Callable[[], None]
"""Releases reserved room, when the blob is stored or its download has failed. Idempotent."""


class NoRoom(Exception):
    """A blob is not to be stored; the message says why."""


class Room(Protocol):
    """Room in the store."""

    def reserve(self, digest: Digest, size: int | None, namespace: str) -> Deferred[Release | None]:
        """Reserve room for the blob *digest* of *size* bytes; None if that is not known.

        *namespace*: the upstream that it comes from. Returns None if there is no limit. Fails with `NoRoom`.
        """

    def has_room(self, size: int) -> bool:
        """Whether there is room for *size* bytes without evicting anything, as far as is known."""

    def full(self) -> None:
        """Take note that the disk of the store is full."""


class Unlimited:
    """The room in a store without a limit."""

    def reserve(self, digest: Digest, size: int | None, namespace: str) -> Deferred[Release | None]:
        """Reserve nothing."""
        return succeed(None)

    def has_room(self, size: int) -> bool:
        """Return True."""
        return True

    def full(self) -> None:
        """Do nothing."""


class ReservedWriter(PassingWriter):
    """A writer that releases its room when it is cancelled, which also happens after a commit."""

    def __init__(self, writer: IObjectWriter, release: Release) -> None:
        super().__init__(writer)
        self._release = release

    def cancel(self) -> Deferred[None]:
        def release(result: T) -> T:
            self._release()
            return result

        return super().cancel().addBoth(release)


def is_full(error: BaseException) -> bool:
    """Whether an error of the store means that its disk, or our quota on it, is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (ENOSPC, EDQUOT)
