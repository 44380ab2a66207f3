"""New objects: spooled to a local file and uploaded from it; large ones in parts while they grow."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from oci_registry.storage.drivers.files import Descriptor, as_store_error, write_all
from oci_registry.storage.drivers.s3.failures import Absent, AlreadyThere, Unsupported
from oci_registry.storage.drivers.s3.parts import PartsUpload, Uploads
from oci_registry.storage.drivers.s3.spool import Slice
from oci_registry.storage.interfaces import IObjectWriter, StoreError, StoreUnavailable


class State(Enum):
    """The state of a new object."""

    GROWING = "growing"
    BROKEN = "broken"
    """It is incomplete, or its commit has failed or is running."""
    CANCELLED = "cancelled"
    COMMITTED = "committed"


@implementer(IObjectWriter)
class S3Writer:
    """Appends to the spool, and uploads from it.

    *size*: the length of the complete object; if it is None, nothing is uploaded before the commit.
    *committed* is called after the commit.
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
        self._state = State.GROWING
        self._ending = DeferredLock()

    # -- growing

    def append(self, data: bytes) -> None:
        """Write at the end, in a thread; parts that are complete are uploaded."""
        try:
            with self._spool.changing():
                as_store_error(write_all, self._spool.number, data)
        except StoreError:
            # Part of it may have been written.
            self._state = State.BROKEN
            raise
        parts = self._written // self._part
        self._written += len(data)
        # An object that fits into one part is uploaded by the commit.
        in_parts = self._size is not None and self._size > self._part
        if in_parts and self._written // self._part > parts:
            self._uploads.from_thread(self._add_parts)

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        """Commit nothing, and keep the spool until the append has returned."""
        self._state = State.BROKEN
        self._spool.hold(returned)
        return StoreUnavailable(f"writing to the spool took longer than {seconds:g} s")

    def _add_parts(self) -> None:
        """Upload the parts that are complete."""
        while self._written - self._cut >= self._part and self._can_add():
            self._add_part(self._part)

    def _can_add(self) -> bool:
        return self._uploads.multipart.supported and self._state is not State.CANCELLED

    def _add_part(self, length: int) -> None:
        start, self._cut = self._cut, self._cut + length
        self._parts.add(start, length, self._written if self._size is None else self._size)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read what was appended, from the spool."""
        return self._spool.read(offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Read what was appended, from the page cache."""
        return self._spool.read_now(offset, length)

    def can_send(self, offset: int) -> bool:
        """Whether what was appended can be sent from the page cache."""
        return self._spool.can_send(offset)

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Send what was appended from the page cache."""
        return self._spool.send_now(socket, offset, length)

    # -- ending

    def commit(self) -> Deferred[None]:
        """Upload the rest and complete the object."""
        work = self._ending.run(lambda: Deferred.fromCoroutine(self._commit()))
        return self._spool.hold(work)

    async def _commit(self) -> None:
        if self._state is State.COMMITTED:
            return
        if self._state is not State.GROWING:
            raise StoreError("cannot commit what was cancelled or is incomplete")
        # Unless this commit succeeds.
        self._state = State.BROKEN
        if self._size is None:
            self._part = self._uploads.multipart.part_size(self._written)
        if await self._is_stored(self._written, always=self._parts.skipped):
            await self._parts.abort()
        elif self._uploads.multipart.supported and self._written > self._part:
            await self._commit_parts()
        else:
            await self._commit_whole()
        self._state = State.COMMITTED
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
        if self._state is State.CANCELLED:
            raise StoreError("cannot commit what was cancelled")
        await self._publish(self._parts.complete)
        self._parts.completed()

    async def _commit_whole(self) -> None:
        if self._written > self._uploads.limits.single:
            raise StoreError("too large for a server that does not support multipart uploads")
        await self._publish(self._put_whole)
        await self._parts.abort()

    async def _publish(self, write: Callable[[bool], None]) -> None:
        """Make the object visible, unless another replica has stored the same."""
        try:
            await self._uploads.run(write, False)
        except AlreadyThere:
            if await self._uploads.run(self._is_there, self._written):
                await self._parts.abort()
                return
            await self._uploads.run(write, True)
        except Absent:
            # The response to a repeated request: the first one has succeeded.
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

    async def _is_stored(self, size: int | None, *, always: bool = False) -> bool:
        """Whether the object exists; it is looked up only if reads have failed recently, or with *always*."""
        if size is None or not (always or self._uploads.reads_failed()):
            return False
        try:
            return await self._uploads.run(self._is_there, size)
        except StoreError:
            # An object that cannot be read may still be written.
            return False

    def cancel(self) -> Deferred[None]:
        """Abort the upload."""
        if self._state is not State.COMMITTED:
            self._state = State.CANCELLED
            self._parts.stop()
        return self._ending.run(lambda: Deferred.fromCoroutine(self._parts.abort()))

    def close(self) -> None:
        """Close the spool, once nothing reads it."""
        self._spool.close()
