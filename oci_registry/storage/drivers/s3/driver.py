"""The driver: bytes at keys of a bucket.

A hit costs one request for the first piece of the object, which tells its size on the way. What is put
there by us carries its size as metadata: that is how our own objects are told from others, and whole
ones from truncated ones.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.config.settings import S3Settings
from oci_registry.storage.drivers.files import Descriptor, as_store_error
from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.drivers.s3.failures import Absent, is_denied, sensible
from oci_registry.storage.drivers.s3.journal import Journal
from oci_registry.storage.drivers.s3.leftovers import Leftovers
from oci_registry.storage.drivers.s3.limits import DEFAULTS, S3Limits
from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.drivers.s3.parts import Uploads
from oci_registry.storage.drivers.s3.pieces import Fetched, OpenObject, Pieces
from oci_registry.storage.drivers.s3.reading import ReadHistory
from oci_registry.storage.drivers.s3.spool import open_spool, probe_spool
from oci_registry.storage.drivers.s3.writer import S3Writer
from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    Space,
    StoreError,
)
from oci_registry.storage.keys import check_key
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.threads import Lanes

BEGAN = "usage/began"
"""Written when the bucket is first used by us: what is older counts as used then."""
SWEEPER = "usage/sweeper"
"""Written by whoever sweeps."""
PROBE = "usage/probe"
MISSING = "usage/probe/missing"
"""What nobody ever writes."""
CHECKED = 30.0
"""Seconds for which a check that went well counts."""
LINK_CHECKED = 60.0
"""Seconds after a successful read for which links are given without another."""

T = TypeVar("T")


@implementer(IStoredObject)
class _StoredObject:
    """One reader of an open object, who will have enough at *stop*."""

    def __init__(self, pieces: Pieces, opened: OpenObject, stop: int | None) -> None:
        self.info = opened.info
        self.head = b""
        self._pieces = pieces
        self._opened = opened
        self._stop = opened.size if stop is None else min(stop, opened.size)
        self._closed = False
        pieces.enter(opened)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._opened.read(offset, length, self._stop)

    def read_now(self, offset: int, length: int) -> bytes | None:
        return None if self._closed else self._opened.at_hand(offset, length, self._stop)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pieces.leave(self._opened)


@implementer(IDriver)
class S3Driver:
    """Bytes at keys of a bucket; new objects grow in a local directory, the spool.

    *lanes* are the threads it works in. *reactor* tells the time and is called from threads.
    """

    sweep_interval = 3600.0
    check_interval = CHECKED

    _log = Logger()

    def __init__(
        self,
        settings: S3Settings,
        lanes: Lanes,
        reactor: Any,
        limits: S3Limits = DEFAULTS,
    ) -> None:
        clock: IReactorTime = reactor
        self.bucket = bucket = Bucket(Connection(settings, limits))
        self._limits = limits
        self._spool = settings.spool
        place = settings.description
        self._lookup = sensible(lanes.lookup, place)
        self._begin_lane = sensible(lanes.begin, place)
        self._commit = sensible(lanes.commit, place)
        self._housekeeping = housekeeping = sensible(lanes.housekeeping, place)
        # Files: what they raise is not the server's answer.
        self._local_begin, self._local_ingest = lanes.begin, lanes.ingest
        self._clock = clock
        self._journal = Journal(bucket, housekeeping, clock, limits)
        self._pieces = Pieces(limits)
        self._opening: SingleFlight[tuple[str, int, int | None], OpenObject | None] = SingleFlight()
        self._reads = reads = ReadHistory(clock.seconds)
        multipart = Multipart(bucket.connection, limits.part)
        self._uploads = Uploads(
            bucket,
            multipart,
            self._commit,
            reactor.callFromThread,
            lambda: reads.failed_within(limits.unsure),
            limits,
        )
        self._leftovers = Leftovers(multipart, housekeeping)
        self._began: float | None = None
        self._checked: float | None = None

    # -- life

    def start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self.check()
        await self._leftovers.check()
        self._checked = self._clock.seconds()

    def check(self) -> Deferred[None]:
        return self.check_writing().addCallback(lambda _: self.check_reading())

    def check_reading(self) -> Deferred[None]:
        return self._reading(self._lookup(self._check_reading))

    def _check_reading(self) -> None:
        """In a thread: read what we wrote, and look for what is not there."""
        for key in (BEGAN, MISSING):
            try:
                self.bucket.read(key, 0, 1, None, self._limits.first_deadline)
            except Absent:
                pass
            except StoreError as error:
                if not is_denied(error.__cause__):
                    raise
                raise StoreError(
                    f"{error}; without the permission to list the bucket, what is missing cannot be "
                    "told from what is forbidden"
                ) from error

    def check_writing(self) -> Deferred[None]:
        return self._begin_lane(self._check_writing).addCallback(self._set_began)

    def _check_writing(self) -> float:
        """In a thread: write and remove something, here and there."""
        self.bucket.probe(PROBE)
        as_store_error(probe_spool, self._spool)
        return self._find_beginning()

    def _set_began(self, began: float) -> None:
        self._began = began

    def _find_beginning(self) -> float:
        try:
            return self.bucket.head(BEGAN).modified
        except Absent:
            self.bucket.put(BEGAN, b"", 0, replace=True)
            return self.bucket.head(BEGAN).modified

    def space(self) -> Deferred[Space | None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return self._journal.stop().addErrback(self._not_written)

    def _not_written(self, failure: Failure) -> None:
        self._log.warn(
            "the last uses are not written down: {error}", error=failure.getErrorMessage()
        )

    # -- reading

    def _info(self, key: str, found: Found) -> ObjectInfo:
        return ObjectInfo(key, found.size, self._journal.last(key, found.modified), found.sealed)

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self._found(self._lookup(self.bucket.head, check_key(key))).addCallback(
            lambda found: None if found is None else self._info(key, found)
        )

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        return Deferred.fromCoroutine(self._open(check_key(key), head, start, stop))

    async def _open(
        self, key: str, head: int, start: int, stop: int | None
    ) -> IStoredObject | None:
        opened = self._pieces.current(key)
        if opened is None or opened.at_hand(start, head, start) is None:
            opened = await self._opening.run(
                (key, start, stop), lambda: self._begin(key, start, stop)
            )
        if opened is None:
            return None
        stored = _StoredObject(self._pieces, opened, stop)
        stored.head = (stored.read_now(start, head) or b"") if head else b""
        return stored

    async def _begin(self, key: str, start: int, stop: int | None) -> OpenObject | None:
        """Fetch the first piece that is wanted, and with it what is known of the object."""
        self._pieces.opening += 1
        try:
            end = start + min(self._limits.first, self._pieces.share)
            end = end if stop is None else min(end, stop)
            opened = await self._found(self._lookup(self._read_first, key, start, end))
        finally:
            self._pieces.opening -= 1
        if opened is None:
            return None
        self._reads.worked()
        # Not the whole of what was found: its bytes are to go when their piece goes.
        found, first = opened
        etag, info = found.etag, self._info(key, found)

        def fetch(begin: int, end: int) -> Deferred[Fetched]:
            return self._reading(self._lookup(self._read_next, key, begin, end, etag))

        return OpenObject(self._pieces, info, fetch, start, first)

    def _read_first(self, key: str, start: int, stop: int) -> tuple[Found, Fetched]:
        """In a thread: return what is known of an object, and its first bytes."""
        began = time.monotonic()
        found = self.bucket.read(key, start, stop, None, self._limits.first_deadline)
        return found, Fetched(found.data, time.monotonic() - began)

    def _read_next(self, key: str, start: int, stop: int, etag: str) -> Fetched:
        """In a thread: return the bytes of one version of an object."""
        began = time.monotonic()
        data = self.bucket.read(key, start, stop, etag).data
        if len(data) != stop - start:
            raise StoreError(f"{self.bucket.connection.place}: {key} is not as long as it was")
        return Fetched(data, time.monotonic() - began)

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        deadline = self._limits.first_deadline
        return self._found(self._lookup(self.bucket.get, check_key(key), limit, deadline))

    def _reading(self, work: Deferred[T]) -> Deferred[T]:
        """Note it if a read fails."""
        return work.addErrback(self._reads.failed)

    def _found(self, work: Deferred[T]) -> Deferred[T | None]:
        """Note it if a read fails; what is not there is None."""
        return self._unless_absent(self._reading(work))

    def _unless_absent(self, work: Deferred[T]) -> Deferred[T | None]:
        def absent(failure: Failure) -> None:
            failure.trap(Absent)

        return work.addErrback(absent)

    # -- writing

    def put(self, key: str, data: bytes) -> Deferred[None]:
        def put() -> None:
            self.bucket.put(key, data, len(data), replace=True)

        check_key(key)
        return self._commit(put).addCallback(lambda _: self._written(key))

    def _written(self, key: str) -> None:
        self._pieces.forget(key)
        self._journal.note(key, self._clock.seconds())

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        check_key(key)
        return self._local_begin(self._open_spool).addCallback(
            lambda spool: S3Writer(self._uploads, key, size, spool, lambda: self._written(key))
        )

    def _open_spool(self) -> Descriptor:
        """In a thread: the file closes itself if nobody waits for it any longer."""
        return Descriptor(as_store_error(open_spool, self._spool), self._local_ingest)

    def seal(self, key: str) -> Deferred[None]:
        check_key(key)
        return self._unless_absent(self._housekeeping(self.bucket.seal, key))

    def touch(self, key: str, used: float) -> Deferred[None]:
        self._journal.note(check_key(key), used)
        return succeed(None)

    def delete(self, key: str) -> Deferred[bool]:
        return self._housekeeping(self._delete, check_key(key)).addCallback(self._removed, key)

    def _delete(self, key: str) -> bool:
        try:
            self.bucket.head(key)
        except Absent:
            return False
        self.bucket.delete(key)
        return True

    def _removed(self, was_there: bool, key: str) -> bool:
        self._pieces.forget(key)
        self._journal.forget(key)
        return was_there

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        def removed(gone: list[str]) -> Sequence[str]:
            return [key for key in gone if self._removed(True, key)]

        return self._housekeeping(
            self.bucket.delete_many, [check_key(key) for key in keys]
        ).addCallback(removed)

    def link(self, key: str) -> Deferred[str | None]:
        check_key(key)
        if self.bucket.connection.public is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._link(key))

    async def _link(self, key: str) -> str | None:
        if not self._reads.worked_within(LINK_CHECKED):
            # Who may see an object may not be allowed to read it.
            deadline = self._limits.first_deadline
            read = self._lookup(self.bucket.read, key, 0, 1, None, deadline)
            if await self._found(read) is None:
                return None
            self._reads.worked()
        return await self._lookup(self.bucket.link, key)

    # -- sweeping

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._begin_sweep(oldest))

    async def _begin_sweep(self, oldest: float) -> bool:
        if self._began is None:
            self._began = await self._housekeeping(self._find_beginning)
        # A little less than the interval, or this replica would find its own last claim too young.
        if not await self._housekeeping(self.bucket.claim, SWEEPER, self.sweep_interval * 0.9):
            return False
        await self._leftovers.remove(self._clock.seconds())
        await self._journal.gather(oldest)
        return True

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        check_key(prefix)
        token: str | None = None
        while True:
            page, token = await self._housekeeping(self.bucket.page, prefix, token)
            for listed in page:
                used = self._journal.last(listed.key, max(listed.modified, self._began or 0.0))
                yield ObjectInfo(listed.key, listed.size, used, True)
            if token is None:
                return
