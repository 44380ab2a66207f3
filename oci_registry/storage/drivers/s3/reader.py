"""Reads objects of a bucket: opens them, and remembers whether reads work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.failures import Absent, is_denied
from oci_registry.storage.drivers.s3.limits import S3Limits
from oci_registry.storage.drivers.s3.pieces import Fetched, OpenObject, Pieces
from oci_registry.storage.drivers.s3.reading import Now, ReadHistory
from oci_registry.storage.interfaces import IStoredObject, ObjectInfo, StoreError
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.threads import RunInThread

LINK_CHECKED = 60.0
"""Seconds after a successful read during which links are given without another read."""

T = TypeVar("T")


@implementer(IStoredObject)
class _StoredObject:
    """One reader of an open object; it reads up to *stop*."""

    def __init__(self, pieces: Pieces, opened: OpenObject, stop: int | None) -> None:
        self.info = opened.info
        self.head = b""
        self.shared = None
        self._pieces = pieces
        self._opened = opened
        self._stop = opened.size if stop is None else min(stop, opened.size)
        self._closed = False
        pieces.enter(opened)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._opened.read(offset, length, self._stop)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return None if self._closed else self._opened.at_hand(offset, length, self._stop)

    def can_send(self, offset: int) -> bool:
        return False

    def send_now(self, socket: int, offset: int, length: int) -> int:
        return 0

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pieces.leave(self._opened)


class S3Reader:
    """Reads the objects of a bucket. All Deferreds may fail with `StoreError`.

    *run* runs requests in threads. *info* returns an object's `ObjectInfo`. *now*: the reactor's seconds.
    """

    def __init__(
        self,
        bucket: Bucket,
        run: RunInThread,
        info: Callable[[str, Found], ObjectInfo],
        now: Now,
        limits: S3Limits,
    ) -> None:
        self.pieces = Pieces(limits.pieces)
        self.history = ReadHistory(now)
        self._bucket = bucket
        self._run = run
        self._info = info
        self._first_deadline = limits.reads.first_deadline
        self._opening: SingleFlight[tuple[str, int, int | None], OpenObject | None] = SingleFlight()

    def check(self, *keys: str) -> Deferred[None]:
        """Read the first byte of objects, which need not exist; fail if they cannot be read."""
        return self._noted(self._run(self._check, keys))

    def _check(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            try:
                self._bucket.read(key, 0, 1, None, self._first_deadline)
            except Absent:
                pass
            except StoreError as error:
                if not is_denied(error.__cause__):
                    raise
                raise StoreError(
                    f"{error}; without permission to list the bucket, a missing object looks like a "
                    "forbidden one"
                ) from error

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        """Return what is known of an object; None if there is none."""
        return self._found(self._run(self._bucket.head, key)).addCallback(
            lambda found: None if found is None else self._info(key, found)
        )

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        """Return a whole object; None if there is none or it has more than *limit* bytes."""
        return self._found(self._run(self._bucket.get, key, limit, self._first_deadline))

    async def open(self, key: str, head: int, start: int, stop: int | None) -> IStoredObject | None:
        """Open an object, as `IDriver.open` does."""
        opened = self.pieces.current(key)
        if opened is None or opened.at_hand(start, head, start) is None:
            opened = await self._opening.run(
                (key, start, stop), lambda: self._begin(key, start, stop)
            )
        if opened is None:
            return None
        stored = _StoredObject(self.pieces, opened, stop)
        stored.head = (stored.read_now(start, head) or b"") if head else b""
        return stored

    async def _begin(self, key: str, start: int, stop: int | None) -> OpenObject | None:
        """Fetch the first piece; its response has the size and the metadata of the object."""
        with self.pieces.opening_one():
            end = start + min(self.pieces.limits.first, self.pieces.share)
            end = end if stop is None else min(end, stop)
            opened = await self._found(self._run(self._read_first, key, start, end))
        if opened is None:
            return None
        self.history.record_success()
        found, first = opened
        # The closure must not keep the first piece in memory.
        etag, info = found.etag, self._info(key, found)

        def fetch(begin: int, end: int) -> Deferred[Fetched]:
            return self._noted(self._run(self._read_next, key, begin, end, etag))

        return OpenObject(self.pieces, info, fetch, start, first)

    def _read_first(self, key: str, start: int, stop: int) -> tuple[Found, Fetched]:
        """In a thread: return what is known of an object, and its first bytes."""
        began = time.monotonic()
        found = self._bucket.read(key, start, stop, None, self._first_deadline)
        return found, Fetched(found.data, time.monotonic() - began)

    def _read_next(self, key: str, start: int, stop: int, etag: str) -> Fetched:
        """In a thread: return bytes of one version of an object."""
        began = time.monotonic()
        data = self._bucket.read(key, start, stop, etag).data
        if len(data) != stop - start:
            raise StoreError(f"{self._bucket.connection.place}: {key} is shorter than before")
        return Fetched(data, time.monotonic() - began)

    def link(self, key: str) -> Deferred[str | None]:
        """Return a URL that lets a client fetch an object; None if links are switched off."""
        if self._bucket.connection.public is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._link(key))

    async def _link(self, key: str) -> str | None:
        if not self.history.succeeded_within(LINK_CHECKED):
            # Permission to see an object does not include permission to read it.
            read = self._run(self._bucket.read, key, 0, 1, None, self._first_deadline)
            if await self._found(read) is None:
                return None
            self.history.record_success()
        return await self._run(self._bucket.link, key)

    def _noted(self, work: Deferred[T]) -> Deferred[T]:
        """Remember a failed read."""
        return work.addErrback(self.history.record_failure)

    def _found(self, work: Deferred[T]) -> Deferred[T | None]:
        """Remember a failed read; a missing object is None."""
        return none_if_absent(self._noted(work))


def none_if_absent(work: Deferred[T]) -> Deferred[T | None]:
    """Return None in place of `Absent`."""

    def absent(failure: Failure) -> None:
        failure.trap(Absent)

    return work.addErrback(absent)
