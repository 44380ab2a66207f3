"""The interfaces of storage drivers and their objects.

A driver knows bytes at keys, not registries. Keys are relative paths made by `storage.keys`, parts
joined by ``/``; one that could leave the root raises ValueError. Errors of the medium are `StoreError`;
a missing object is None.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class StoreError(Exception):
    """The medium failed (full, read-only, broken, gone); the message says how."""


class StoreUnavailable(StoreError):
    """The medium did not answer in time, or was overloaded; the message says how."""


class ListingIncomplete(StoreError):
    """Everything was listed except the content of some folders; the message names one of them."""


@frozen
class Space:
    """The space of a volume in bytes: *free* for this process, and *size* in total."""

    free: int
    size: int


@frozen
class ObjectInfo:
    """What is known of a stored object without reading it.

    *size* in bytes. *used*: seconds since the epoch when it was last written or touched. *sealed*: it
    was committed by a writer or sealed later, and not stored by another program. A listing that cannot
    tell reports True, and a *used* that is not before the start of the process.
    """

    key: str
    size: int
    used: float
    sealed: bool


class IStoredObject(Interface):
    """A stored object that is open for reading; it stays readable when it is deleted meanwhile.

    On media that do not support this, a read then fails with StoreError.
    """

    info: ObjectInfo = Attribute("its `ObjectInfo`")
    head: bytes = Attribute(
        "the bytes that were requested on opening, or nothing if reading them needs no waiting"
    )

    shared: int | None = Attribute(
        "the descriptor of a file that another process may send with `page_cache`, or None"
    )

    def read(offset: int, length: int) -> Deferred[bytes]:
        """Return up to *length* bytes at *offset*, at least one; ``b""`` beyond the end.

        Fails with StoreError.
        """

    def read_now(offset: int, length: int) -> bytes | None:
        """Return the same as `read` if that needs no waiting; else None. Never raises."""

    def can_send(offset: int) -> bool:
        """Whether `send_now` is likely to send bytes at *offset*. Never waits or raises."""

    def send_now(socket: int, offset: int, length: int) -> int:
        """Send bytes from memory to a socket without reading them; return how many, at most *length*.

        Returns 0 if they must be read instead, for any reason: `read` reports errors. Raises only
        BlockingIOError, while the socket takes nothing.
        """

    def close() -> None:
        """Release its resources. Idempotent; a running read may still finish."""


class KeptObjects(Protocol):
    """Sealed objects of a driver that stay open for a while, for parts that are read without waiting."""

    def part(self, key: str, size: int, offset: int, length: int) -> bytes | None:
        """Return bytes of the object of *size* bytes at a key. Never raises.

        None if that needs waiting, or the object is not kept open any more, was removed, or has another size.
        """


@runtime_checkable
class Keepable(Protocol):
    """A stored object that may stay open after its `close`."""

    def keep(self) -> KeptObjects | None:
        """Return what reads it after its `close`, which is the same for all objects of a driver.

        None if it does not stay open, cannot be read without waiting, or is not sealed.
        """


class IObjectWriter(Interface):
    """A new object that is invisible until it is committed; a `streams.interfaces.GrowingFile`."""

    def append(data: bytes) -> None:
        """Write at the end. Blocks: call it in a thread, one at a time. Raises StoreError."""

    def append_hangs(seconds: float, returned: Deferred[None]) -> StoreError:
        """Take note that an append has not returned for so many seconds; return the error to report.

        Resources that the append uses stay until *returned* fires. Nothing more is appended.
        """

    def read(offset: int, length: int) -> Deferred[bytes]:
        """Return bytes that were appended, before and after the commit or cancel, until it is closed."""

    def read_now(offset: int, length: int) -> bytes | None:
        """Return the same as `read` if that needs no waiting; else None. Never raises."""

    def can_send(offset: int) -> bool:
        """Whether `send_now` is likely to send bytes at *offset*. Never waits or raises."""

    def send_now(socket: int, offset: int, length: int) -> int:
        """Send bytes that were appended to a socket, as `IStoredObject.send_now` does."""

    def commit() -> Deferred[None]:
        """Make the object durable and visible as a whole, sealed, replacing an older one.

        Fails with StoreError, and then nothing is visible; it always fails after a failed append or a
        cancel. A second commit does nothing.
        """

    def cancel() -> Deferred[None]:
        """Remove the object. Idempotent; does nothing after a commit."""

    def close() -> None:
        """Release its resources without committing. Idempotent."""


class IInspectedObject(Interface):
    """A stored object that is read once, from start to end, independently of clients.

    It may be unreadable: then `read` fails with StoreError; with StoreUnavailable if the process or the
    medium failed, which says nothing about the object. It is neither kept open nor in memory for later
    readers.
    """

    info: ObjectInfo = Attribute("its `ObjectInfo`")

    def read(offset: int, length: int) -> Deferred[bytes]:
        """Return up to *length* bytes at *offset*, at least one; ``b""`` beyond the end.

        Fails with StoreError.
        """

    def withdraw(target: str | None) -> Deferred[bool]:
        """Move the object to the key *target*, or remove it; return whether that was done.

        Nothing is done if the object has been removed, replaced by another one, or changed. Objects that
        are kept open no longer give its bytes. Fails with StoreError.
        """

    def close() -> None:
        """Release its resources. Idempotent."""


class IDriver(Interface):
    """Bytes at keys."""

    sweep_interval: float = Attribute("seconds between two sweeps")
    check_interval: float = Attribute("the time in seconds for which a successful check is valid")

    def start() -> Deferred[None]:
        """Prepare the medium; fails as `check` does."""

    def stop() -> Deferred[None]:
        """Write everything that is only in memory. Never fails."""

    def check() -> Deferred[None]:
        """Fail with StoreError, in a sentence, unless the medium can be read and written."""

    def check_reading() -> Deferred[None]:
        """Fail with StoreError unless the medium can be read."""

    def check_writing() -> Deferred[None]:
        """Fail with StoreError unless the medium can be written."""

    def space() -> Deferred[Space | None]:
        """Return the space of the volume; None if the medium has no such limit."""

    def stat(key: str) -> Deferred[ObjectInfo | None]:
        """Return the information about an object."""

    def open(
        key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        """Open an object, reading *head* bytes at *start* on the way if that needs waiting.

        *stop*: where the reader will stop, if that is before the end: a hint for media on which each
        read costs a request.
        """

    def get(key: str, limit: int) -> Deferred[bytes | None]:
        """Return a small object as a whole; None also if it is larger than *limit* bytes."""

    def put(key: str, data: bytes) -> Deferred[None]:
        """Write a small object as a whole, replacing an older one. Not durable against power loss."""

    def create(key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        """Begin a new object; *size* is its length in bytes if that is known."""

    def seal(key: str) -> Deferred[None]:
        """Mark an object as verified; does nothing when it is not there."""

    def touch(key: str, used: float) -> Deferred[None]:
        """Set when an object was last used; does nothing when it is not there."""

    def delete(key: str) -> Deferred[bool]:
        """Remove an object; return whether it was there."""

    def delete_many(keys: Sequence[str]) -> Deferred[Sequence[str]]:
        """Remove objects; return those that existed, if the medium can tell."""

    def persist(key: str) -> Deferred[None]:
        """Make the latest `put` or removal at *key* durable."""

    def link(key: str) -> Deferred[str | None]:
        """Return a URL at which clients can fetch the object for some minutes, or None."""

    def begin_sweep(oldest: float) -> Deferred[bool]:
        """Prepare for a sweep; return whether this process should do it.

        Removes incomplete objects of dead processes. The listings that follow may ignore uses before
        *oldest*, in seconds since the epoch.
        """

    def marked(
        prefix: str, mark: str, after: str, limit: int
    ) -> Deferred[tuple[Sequence[str], bool]]:
        """Return folders below *prefix* that have an object in their folder *mark*, and if there are more.

        They are paths relative to *prefix*, sorted, at most *limit* of those after *after*. A folder whose
        name begins with an underscore is a mark, and no part of such a path. There may be fewer of them than
        *limit* although there are more, but at least one.
        """

    def list(prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with *prefix* and a ``/``, in no particular order."""

    def list_from(prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        """Yield what `list` does in the order of the keys, beginning with the first key after *after*.

        Raises ListingIncomplete in the end if some folders were left out because they cannot be read.
        """

    def inspect(key: str) -> Deferred[IInspectedObject | None]:
        """Open an object to inspect it; return None if there is none."""
