"""The driver for buckets: bytes at keys of an S3 bucket.

A hit costs one request: the response with the first piece of the object also has its size. Objects that we
upload have their size in their metadata. That distinguishes them from objects of other programs, and
whole ones from truncated ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.config.settings import S3Settings
from oci_registry.storage.drivers.files import Descriptor, as_store_error
from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.drivers.s3.failures import Absent, sensible
from oci_registry.storage.drivers.s3.inspected import InspectedObject
from oci_registry.storage.drivers.s3.journal import Journal
from oci_registry.storage.drivers.s3.leftovers import Leftovers
from oci_registry.storage.drivers.s3.limits import DEFAULTS, S3Limits
from oci_registry.storage.drivers.s3.marking import marked_in_bucket
from oci_registry.storage.drivers.s3.medium import BucketMedium
from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.drivers.s3.parts import Uploads
from oci_registry.storage.drivers.s3.reader import S3Reader, none_if_absent
from oci_registry.storage.drivers.s3.spool import open_spool, probe_spool
from oci_registry.storage.drivers.s3.writer import S3Writer
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    Space,
)
from oci_registry.storage.keys import check_key
from oci_registry.streams.threads import Lanes

BEGAN = "usage/began"
"""Written when we first use the bucket: older objects count as used at that time."""
SWEEPER = "usage/sweeper"
"""Written by the replica that sweeps."""
LIMITER = "usage/limiter"
"""Written by the replica that keeps the bucket below its limit."""
HELD = 300.0
"""Seconds after which another replica may become the limiter, unless the claim is repeated."""
PROBE = "usage/probe"
"""Written and removed by checks."""
MISSING = "usage/probe/missing"
"""Never written."""
CHECKED = 30.0
"""Seconds for which a successful check is valid."""


def _lanes_to(place: str, lanes: Lanes) -> Lanes:
    """Return *lanes* for requests to the bucket; errors due to nonsensical responses become `StoreError`."""
    return evolve(
        lanes,
        lookup=sensible(lanes.lookup, place),
        commit=sensible(lanes.commit, place),
        housekeeping=sensible(lanes.housekeeping, place),
        begin=sensible(lanes.begin, place),
    )


@implementer(IDriver)
class S3Driver:
    """Bytes at keys of a bucket; new objects grow in a local directory, the spool.

    *lanes* are its threads. *reactor* provides the time, and is called from threads.
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
        self.bucket = bucket = Bucket(Connection(settings, limits))
        self.started = False
        """Whether `start` has ended."""
        self._spool = settings.spool
        self._local = lanes
        self._lanes = remote = _lanes_to(settings.description, lanes)
        self._clock = reactor
        self._journal = Journal(bucket, remote.housekeeping, reactor, limits.journal)
        self.reader = reader = S3Reader(bucket, remote.lookup, self._info, reactor.seconds, limits)
        multipart = Multipart(bucket.connection, limits.uploads.part)
        self._uploads = Uploads(
            bucket,
            multipart,
            remote.commit,
            reactor.callFromThread,
            lambda: reader.history.failed_within(limits.uploads.unsure),
            limits.uploads,
        )
        self._leftovers = Leftovers(multipart, remote.housekeeping)
        self._began: float | None = None
        self._name = uuid4().hex

    # -- start, checks and stop

    def start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self.check()
        await self._leftovers.check()
        self.started = True

    def check(self) -> Deferred[None]:
        return self.check_writing().addCallback(lambda _: self.check_reading())

    def check_reading(self) -> Deferred[None]:
        return self.reader.check(BEGAN, MISSING)

    def check_writing(self) -> Deferred[None]:
        return self._lanes.begin(self._check_writing).addCallback(self._set_began)

    def _check_writing(self) -> float:
        """In a thread: write something and remove it, in the bucket and in the spool."""
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
            "cannot write when objects were last used: {error}",
            error=failure.getErrorMessage(),
        )

    # -- reading

    def _info(self, key: str, found: Found) -> ObjectInfo:
        return ObjectInfo(key, found.size, self._journal.last(key, found.modified), found.sealed)

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self.reader.stat(check_key(key))

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        return Deferred.fromCoroutine(self.reader.open(check_key(key), head, start, stop))

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self.reader.get(check_key(key), limit)

    def link(self, key: str) -> Deferred[str | None]:
        return self.reader.link(check_key(key))

    # -- writing

    def put(self, key: str, data: bytes) -> Deferred[None]:
        def put() -> None:
            self.bucket.put(key, data, len(data), replace=True)

        check_key(key)
        return self._lanes.commit(put).addCallback(lambda _: self._written(key))

    def _written(self, key: str) -> None:
        self.reader.pieces.forget(key)
        self._journal.note(key, self._clock.seconds())

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        committed = partial(self._written, check_key(key))
        return self._local.begin(self._open_spool).addCallback(
            lambda spool: S3Writer(self._uploads, key, size, spool, committed)
        )

    def _open_spool(self) -> Descriptor:
        """In a thread: open a new file; it closes itself if the caller has been cancelled."""
        return Descriptor(as_store_error(open_spool, self._spool), self._local.ingest, grows=True)

    def seal(self, key: str) -> Deferred[None]:
        check_key(key)
        return none_if_absent(self._lanes.housekeeping(self.bucket.seal, key))

    def touch(self, key: str, used: float) -> Deferred[None]:
        self._journal.note(check_key(key), used)
        return succeed(None)

    def delete(self, key: str) -> Deferred[bool]:
        deleting = self._lanes.housekeeping(self._delete, check_key(key))
        return deleting.addCallback(self._removed, key)

    def _delete(self, key: str) -> bool:
        try:
            self.bucket.head(key)
        except Absent:
            return False
        self.bucket.delete(key)
        return True

    def _removed(self, was_there: bool, key: str) -> bool:
        self.reader.pieces.forget(key)
        self._journal.forget(key)
        return was_there

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        def removed(gone: list[str]) -> Sequence[str]:
            return [key for key in gone if self._removed(True, key)]

        return self._lanes.housekeeping(
            self.bucket.delete_many, [check_key(key) for key in keys]
        ).addCallback(removed)

    def persist(self, key: str) -> Deferred[None]:
        # Every response to a write says that it is durable.
        check_key(key)
        return succeed(None)

    # -- sweeping

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._begin_sweep(oldest))

    async def _begin_sweep(self, oldest: float) -> bool:
        run = self._lanes.housekeeping
        if self._began is None:
            self._began = await run(self._find_beginning)
        # A little less than the interval: else this replica would find its own last claim too young.
        if not await run(self.bucket.claim, SWEEPER, self.sweep_interval * 0.9):
            return False
        await self._leftovers.remove(self._clock.seconds())
        await self._journal.gather(oldest)
        return True

    def marked(
        self, prefix: str, mark: str, after: str, limit: int
    ) -> Deferred[tuple[Sequence[str], bool]]:
        return self._lanes.housekeeping(
            marked_in_bucket, self.bucket, check_key(prefix), mark, after, limit
        )

    def hold(self) -> Deferred[bool]:
        """Claim, or keep, the task of keeping the bucket below its limit, for `HELD` seconds."""
        return self._lanes.housekeeping(self.bucket.claim, LIMITER, HELD, self._name)

    def release(self) -> Deferred[None]:
        """Give that task up, so that another replica can claim it at once."""
        return self._lanes.housekeeping(self.bucket.delete, LIMITER)

    def medium(self) -> BucketMedium:
        """Return the bucket for its account, which reads it in a thread of its own."""
        return BucketMedium(self.bucket, self._journal, lambda: self._began or 0.0)

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        return self.list_from(prefix, "")

    async def list_from(self, prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        check_key(prefix)
        token: str | None = None
        while True:
            page, token = await self._lanes.housekeeping(self.bucket.page, prefix, token, after)
            for listed in page:
                used = self._journal.last(listed.key, max(listed.modified, self._began or 0.0))
                yield ObjectInfo(listed.key, listed.size, used, True)
            if token is None:
                return

    def inspect(self, key: str) -> Deferred[IInspectedObject | None]:
        finding = self._lanes.housekeeping(self.bucket.head, check_key(key))
        return none_if_absent(finding).addCallback(self._inspected, key)

    def _inspected(self, found: Found | None, key: str) -> IInspectedObject | None:
        if found is None:
            return None
        run = self._lanes.housekeeping
        removed = partial(self._removed, True)
        return InspectedObject(self.bucket, self._info(key, found), found, run, removed)
