"""A new object: spooled to a local file, and uploaded from there, in parts while it grows if it is large."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from oci_registry.storage.drivers.files import Descriptor, as_store_error, write_all
from oci_registry.storage.drivers.s3.failures import Absent, AlreadyThere, Unsupported
from oci_registry.storage.drivers.s3.multipart import MAX_SINGLE
from oci_registry.storage.drivers.s3.parts import PartsUpload, Uploads
from oci_registry.storage.drivers.s3.spool import Slice
from oci_registry.storage.interfaces import IObjectWriter, StoreError


@implementer(IObjectWriter)
class S3Writer:
    """Appends to the spool, and uploads what is there.

    *size*: the length that the object will have; if it is None, nothing is uploaded before the commit.
    *committed* is called when the object is in its place.
    """

    def __init__(
        self,
        uploads: Uploads,
        key: str,
        size: int | None,
        spool: Descriptor,
        committed: Callable[[], None],
    ) -> None:
        self._uploads = uploads
        self._key = key
        self._size = size
        self._spool = spool
        self._tell = committed
        self._parts = PartsUpload(uploads, key, spool, lambda: self._is_stored(size))
        self._part = uploads.multipart.part_size(size or 0)
        self._cut = 0
        self._written = 0
        self._incomplete = False
        self._cancelled = False
        self._committed = False
        self._ending = DeferredLock()

    # -- growing

    def append(self, data: bytes) -> None:
        """Write at the end, in a thread; have a part uploaded when it is complete."""
        try:
            as_store_error(write_all, self._spool.number, data)
        except StoreError:
            # Part of it may have been written.
            self._incomplete = True
            raise
        parts = self._written // self._part
        self._written += len(data)
        # What fits into one part is put as a whole, by the commit.
        in_parts = self._size is not None and self._size > self._part
        if in_parts and self._written // self._part > parts:
            self._uploads.from_thread(self._add_parts)

    def _add_parts(self) -> None:
        """Have the parts that are complete uploaded."""
        while self._written - self._cut >= self._part and self._can_add():
            self._add_part(self._part)

    def _can_add(self) -> bool:
        return self._uploads.multipart.supported and not self._cancelled

    def _add_part(self, length: int) -> None:
        start, self._cut = self._cut, self._cut + length
        self._parts.add(start, length, self._written if self._size is None else self._size)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read what was appended, from the spool."""
        return self._spool.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Read what was appended, from the page cache."""
        return self._spool.read_now(offset, length)

    # -- ending

    def commit(self) -> Deferred[None]:
        """Upload what is missing and make it an object."""
        work = self._ending.run(lambda: Deferred.fromCoroutine(self._commit()))
        return self._spool.hold(work)

    async def _commit(self) -> None:
        if self._committed:
            return
        if self._incomplete or self._cancelled:
            raise StoreError("cannot commit what was cancelled or is incomplete")
        self._incomplete = True
        if self._size is None:
            self._part = self._uploads.multipart.part_size(self._written)
        if await self._is_stored(self._written, surely=self._parts.skipped):
            await self._parts.abort()
        elif self._uploads.multipart.supported and self._written > self._part:
            await self._commit_parts()
        else:
            await self._commit_whole()
        self._incomplete = False
        self._committed = True
        self._tell()

    async def _commit_parts(self) -> None:
        self._add_parts()
        if self._written > self._cut and self._can_add():
            self._add_part(self._written - self._cut)
        try:
            await self._parts.finish(self._written)
        except Unsupported:
            await self._commit_whole()
            return
        if self._cancelled:
            raise StoreError("cannot commit what was cancelled")
        await self._publish(self._parts.complete)
        self._parts.completed()

    async def _commit_whole(self) -> None:
        if self._written > MAX_SINGLE:
            raise StoreError("the server knows no uploads in parts, and no other way takes so much")
        await self._publish(self._put_whole)
        await self._parts.abort()

    async def _publish(self, write: Callable[[bool], None]) -> None:
        """Put the object in its place, unless the same has been put there by another replica."""
        try:
            await self._uploads.run(write, False)
        except AlreadyThere:
            if await self._uploads.run(self._is_there, self._written):
                await self._parts.abort()
                return
            await self._uploads.run(write, True)
        except Absent:
            # The answer to a request that was made again: the first one has done it.
            if not await self._uploads.run(self._is_there, self._written):
                raise

    def _put_whole(self, replace: bool) -> None:
        body = Slice(self._spool.number, 0, self._written)
        self._uploads.bucket.put(self._key, body, self._written, replace=replace)

    def _is_there(self, size: int) -> bool:
        try:
            found = self._uploads.bucket.head(self._key)
        except Absent:
            return False
        return found.sealed and found.size == size

    async def _is_stored(self, size: int | None, *, surely: bool = False) -> bool:
        """Whether the object is there already; looked for only where that was unknown, or *surely*."""
        if size is None or not (surely or self._uploads.reads_failed()):
            return False
        try:
            return await self._uploads.run(self._is_there, size)
        except StoreError:
            # That it cannot be read does not mean that it cannot be written.
            return False

    def cancel(self) -> Deferred[None]:
        """Give up the upload."""
        if not self._committed:
            self._cancelled = True
            self._parts.stop()
        return self._ending.run(lambda: Deferred.fromCoroutine(self._parts.abort()))

    def close(self) -> None:
        """Close the spool, once nothing reads it."""
        self._spool.close()
