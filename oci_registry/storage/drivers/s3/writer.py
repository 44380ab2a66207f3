"""A new object: spooled to a local file, and uploaded from there in parts while it grows."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from oci_registry.storage.drivers.files import Descriptor, as_store_error, write_all
from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.failures import Absent, AlreadyThere
from oci_registry.storage.drivers.s3.multipart import PART, Multipart, part_size
from oci_registry.storage.drivers.s3.spool import Slice
from oci_registry.storage.interfaces import IObjectWriter, StoreError
from oci_registry.streams.threads import RunInThread

LANES = 2
"""Parts of one object that are uploaded at the same time."""

FromThread = Callable[..., object]


@implementer(IObjectWriter)
class S3Writer:
    """Appends to the spool, and uploads what is there, a part at a time.

    *size*: the length that the object will have; if it is None, nothing is uploaded before the commit.
    What fails on the way is tried once more at the commit. *upload* runs what goes to the bucket,
    *local* what reads the spool; *from_thread* calls something in the reactor's thread.
    *committed* is called when the object is in its place.
    """

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        size: int | None,
        descriptor: int,
        upload: RunInThread,
        local: RunInThread,
        from_thread: FromThread,
        committed: Callable[[], None],
    ) -> None:
        self._bucket = bucket
        self._multipart = Multipart(bucket.connection)
        self._key = key
        self._size = size
        self._descriptor = Descriptor(descriptor, local)
        self._upload = upload
        self._from_thread = from_thread
        self._tell = committed
        self._part = PART if size is None else part_size(size)
        self._written = 0
        self._complete = False
        self._incomplete = False
        self._cancelled = False
        self._committed = False
        self._ending = DeferredLock()
        # The upload in parts: numbers count from 1, what has an etag is there.
        self._upload_id: str | None = None
        self._etags: dict[int, str] = {}
        self._next = 1
        self._failed: list[int] = []
        self._error: StoreError | None = None
        self._lanes = 0
        self._waiting: list[Deferred[None]] = []

    # -- growing

    def append(self, data: bytes) -> None:
        """Write at the end, in a thread; have a part uploaded when it is complete."""
        try:
            as_store_error(write_all, self._descriptor.number, data)
        except StoreError:
            # Part of it may have been written.
            self._incomplete = True
            raise
        parts = self._written // self._part
        self._written += len(data)
        # What fits into one part is put as a whole, by the commit.
        in_parts = self._size is not None and self._size > self._part
        if in_parts and self._written // self._part > parts:
            self._from_thread(self._advance)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read what was appended, from the spool."""
        return self._descriptor.read_soon(offset, length)

    # -- uploading parts

    def _advance(self) -> None:
        """Upload the parts that are there, unless something has gone wrong with that."""
        # As long as nothing is begun, one lane is enough to begin it.
        while self._lanes < (1 if self._upload_id is None else LANES) and self._has_work():
            self._lanes += 1
            self._descriptor.hold(Deferred.fromCoroutine(self._lane()))

    def _has_work(self) -> bool:
        if self._cancelled or self._error is not None:
            return False
        parts = self._written // self._part
        if self._complete and self._written % self._part:
            parts += 1
        return bool(self._failed) or self._next <= parts

    async def _lane(self) -> None:
        """Upload one part after the other; keep what goes wrong for the commit."""
        try:
            if self._upload_id is None:
                size = self._written if self._size is None else self._size
                self._upload_id = await self._upload(self._multipart.begin, self._key, size)
                self._advance()
            while self._has_work():
                await self._put_next(self._upload_id)
        except StoreError as error:
            self._error = error
        finally:
            self._lanes -= 1
            if not self._lanes:
                waiting, self._waiting = self._waiting, []
                for waiter in waiting:
                    waiter.callback(None)

    async def _put_next(self, upload: str) -> None:
        if self._failed:
            number = self._failed.pop()
        else:
            number, self._next = self._next, self._next + 1
        start = (number - 1) * self._part
        size = min(self._part, self._written - start)
        body = Slice(self._descriptor.number, start, size)
        try:
            self._etags[number] = await self._upload(
                self._multipart.put, self._key, upload, number, body, size
            )
        except BaseException:
            self._failed.append(number)
            raise

    async def _idle(self) -> None:
        """Wait until no part is being uploaded."""
        while self._lanes:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    # -- ending

    def commit(self) -> Deferred[None]:
        """Upload what is missing and make it an object."""
        work = self._ending.run(lambda: Deferred.fromCoroutine(self._commit()))
        return self._descriptor.hold(work)

    async def _commit(self) -> None:
        if self._committed:
            return
        if self._incomplete or self._cancelled:
            raise StoreError("cannot commit what was cancelled or is incomplete")
        self._incomplete = True
        self._complete = True
        if self._size is None:
            self._part = part_size(self._written)
        if self._upload_id is None and not self._lanes and self._written <= self._part:
            await self._publish(self._put_whole)
        else:
            await self._idle()
            self._error = None
            self._advance()
            await self._idle()
            if self._error is not None:
                raise self._error
            if self._cancelled:
                raise StoreError("cannot commit what was cancelled")
            await self._publish(self._put_together)
        self._incomplete = False
        self._committed = True
        self._tell()

    async def _publish(self, write: Callable[..., None]) -> None:
        """Put the object in its place, unless the same has been put there by another replica."""
        try:
            await self._upload(write, False)
        except AlreadyThere:
            if await self._upload(self._is_there):
                await self._abort()
                return
            await self._upload(write, True)
        except Absent:
            # The answer to a request that was made again: the first one has done it.
            if not await self._upload(self._is_there):
                raise
        self._upload_id = None

    def _put_whole(self, replace: bool) -> None:
        body = Slice(self._descriptor.number, 0, self._written)
        self._bucket.put(self._key, body, self._written, replace=replace)

    def _put_together(self, replace: bool) -> None:
        assert self._upload_id is not None
        etags = [self._etags[number] for number in range(1, len(self._etags) + 1)]
        self._multipart.complete(self._key, self._upload_id, etags, replace=replace)

    def _is_there(self) -> bool:
        try:
            found = self._bucket.head(self._key)
        except Absent:
            return False
        return found.sealed and found.size == self._written

    def cancel(self) -> Deferred[None]:
        """Give up the upload."""
        self._cancelled = not self._committed
        return self._ending.run(lambda: Deferred.fromCoroutine(self._cancel()))

    async def _cancel(self) -> None:
        await self._idle()
        await self._abort()

    async def _abort(self) -> None:
        upload, self._upload_id = self._upload_id, None
        if upload is not None:
            await self._upload(self._multipart.abort, self._key, upload)

    def close(self) -> None:
        """Close the spool, once nothing reads it."""
        self._descriptor.close()
