"""The multipart upload of one object while it grows, a few parts at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.storage.drivers.files import Descriptor
from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.failures import Unsupported
from oci_registry.storage.drivers.s3.limits import DEFAULTS, UploadLimits
from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.drivers.s3.spool import Slice
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.threads import RunInThread
from oci_registry.streams.waiters import Waiters


@frozen
class Uploads:
    """The state that all new objects of a driver share.

    *run* runs requests to the bucket in threads; *from_thread* makes a call in the reactor's thread;
    *reads_failed* returns whether objects may exist although they could not be read.
    """

    bucket: Bucket
    multipart: Multipart
    run: RunInThread
    from_thread: Callable[..., object]
    reads_failed: Callable[[], bool]
    limits: UploadLimits = DEFAULTS.uploads


class PartsUpload:
    """Uploads the parts of one spooled object, in any order.

    *is_there* returns whether the object exists; it is called before the first part, and nothing is
    uploaded then. After an error the upload stops until `finish`, which tries once more, unless the
    server does not support such uploads.
    """

    _log = Logger()

    def __init__(
        self,
        uploads: Uploads,
        key: str,
        file: Descriptor,
        is_there: Callable[[], Awaitable[bool]],
    ) -> None:
        self.skipped = False
        """Whether nothing was uploaded because the object exists."""
        self._uploads = uploads
        self._key = key
        self._file = file
        self._is_there = is_there
        self._id: str | None = None
        self._etags: dict[int, str] = {}
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._added = 0
        self._stopped: StoreError | None = None
        self._lanes = 0
        self._idle: Waiters[None] = Waiters()

    def add(self, start: int, length: int, size: int) -> None:
        """Upload the next part, which is in the spool, of an object that will have *size* bytes."""
        self._added += 1
        self._waiting.append((self._added, start, length))
        self._advance(size)

    def _advance(self, size: int) -> None:
        # One coroutine begins the upload; the others follow.
        most = 1 if self._id is None else self._uploads.limits.parallel
        while self._lanes < most and self._has_work():
            self._lanes += 1
            self._file.hold(Deferred.fromCoroutine(self._lane(size)))

    def _has_work(self) -> bool:
        return bool(self._waiting) and self._stopped is None and not self.skipped

    async def _lane(self, size: int) -> None:
        """Upload one part after another; keep an error for the commit."""
        try:
            if self._id is None:
                await self._begin(size)
                self._advance(size)
            while self._has_work():
                await self._put_next()
        except StoreError as error:
            self._stopped = self._stopped or error
        finally:
            self._lanes -= 1
            if not self._lanes:
                self._idle.fire(None)

    async def _begin(self, size: int) -> None:
        multipart = self._uploads.multipart
        if await self._is_there():
            self.skipped = True
            return
        try:
            self._id = await self._uploads.run(multipart.begin, self._key, size)
        except Unsupported as error:
            if multipart.supported:
                multipart.supported = False
                self._log.warn(
                    "large blobs are uploaded in one request each, after their download, because the "
                    "server does not support multipart uploads: {error}",
                    error=str(error),
                )
            raise

    async def _put_next(self) -> None:
        number, start, length = part = self._waiting.popleft()
        body = Slice(self._file.number, start, length)
        try:
            self._etags[number] = await self._uploads.run(
                self._uploads.multipart.put, self._key, self._id, number, body, length
            )
        except BaseException:
            self._waiting.append(part)
            raise

    async def idle(self) -> None:
        """Wait until no part is being uploaded."""
        while self._lanes:
            await self._idle.wait()

    async def finish(self, size: int) -> None:
        """Upload the parts that are missing of *size* bytes; raises StoreError, or `Unsupported`."""
        await self.idle()
        if isinstance(self._stopped, Unsupported):
            raise self._stopped
        self._stopped, self.skipped = None, False
        self._advance(size)
        await self.idle()
        if self._stopped is not None:
            raise self._stopped

    def complete(self, replace: bool) -> None:
        """In a thread: complete the upload. Raises as `Multipart.complete`."""
        assert self._id is not None
        etags = [self._etags[number] for number in range(1, len(self._etags) + 1)]
        self._uploads.multipart.complete(self._key, self._id, etags, replace=replace)

    def stop(self) -> None:
        """Start no more parts."""
        self._stopped = StoreError("cannot commit what was cancelled")

    def completed(self) -> None:
        """Take note that the upload has become an object: there is nothing to abort."""
        self._id = None

    async def abort(self) -> None:
        """Abort the upload, once no part is being uploaded."""
        await self.idle()
        upload, self._id = self._id, None
        if upload is not None:
            await self._uploads.run(self._uploads.multipart.abort, self._key, upload)
