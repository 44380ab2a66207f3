"""Blobs: from the store, from a transfer under way, or from a transfer that is started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.far import FarRange, FarRanges, far_part
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.rescue import Instead, RescuedSource
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.trouble import READ, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.storage.blobs import BlobStore, StoredBlob
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.follower import LostPlace, TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.interfaces import Source
from oci_registry.upstream.table import Target


@frozen
class OpenBlob:
    """A blob that can be read: take one source from it, or close it.

    Take it before waiting for anything else: a transfer that is over keeps its bytes for those alone
    who follow it by then.

    *size* in bytes; None while nobody knows it (upstream did not say).
    """

    digest: Digest
    size: int | None
    outcome: Outcome
    _blob: StoredBlob | GrowingBlob
    _instead: Instead
    _far: FarRange | None = None

    @property
    def cached(self) -> bool:
        """Whether it came from the store."""
        return self.outcome is Outcome.HIT

    def source(self, start: int, stop: int | None) -> Source:
        """Return the bytes from *start*; the source must be closed, and the blob then is."""
        if self._far is not None:
            if (start, stop) == (self._far.part.start, self._far.part.stop):
                return self._far
            self._far.close()
        if isinstance(self._blob, StoredBlob):
            end = self._blob.size if stop is None else stop
            return RescuedSource(self._blob.source(start, end), start, end, self._instead)
        return RescuedSource(self._blob.follow(start), start, stop, self._instead)

    def close(self) -> None:
        """No source will be taken."""
        if self._far is not None:
            self._far.close()
        if isinstance(self._blob, StoredBlob):
            self._blob.close()


@frozen
class BlobSize:
    """How many bytes a blob has, and where that was found."""

    size: int
    outcome: Outcome


class BlobCache:
    """Every blob of every registry, downloaded when it is first wanted."""

    def __init__(
        self,
        store: BlobStore,
        transfers: Transfers,
        sizes: KnownSizes,
        trouble: StoreTrouble,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._transfers = transfers
        self._sizes = sizes
        self._trouble = trouble
        self._metrics = metrics
        self._far = FarRanges(transfers.clock, metrics)

    async def link(self, target: Target, digest: Digest) -> str | None:
        """Return a URL at which clients can fetch a blob that is stored, if the store has such."""
        known = self._known_size(target, digest)
        url = await self._trouble.despite(READ, self._store.link(digest, known), None)
        if url is not None:
            self._metrics.hit("blob", target.upstream.namespace)
        return url

    async def open(
        self, target: Target, digest: Digest, head: int, start: int = 0, stop: int | None = None
    ) -> OpenBlob:
        """Return the blob, its first bytes on the way. Raises upstream's `RegistryError`.

        *head* bytes at *start* will be wanted at once, and none from *stop* on.
        """
        size = self._known_size(target, digest)
        growing = self._transfers.running(target, digest, start)
        joined = growing is not None
        if growing is None:
            stored = await self._stored(lambda: self._store.open(digest, head, size, start, stop))
            if stored is not None:
                self._metrics.hit("blob", target.upstream.namespace)
                instead = self._instead(target, digest, stored.size)
                return OpenBlob(digest, stored.size, Outcome.HIT, stored, instead)
            joined = self._transfers.can_be_joined(target, digest, start)
            growing = await self._transfers.join(target, digest, size, start)
        growing = await _certainly(growing)
        part = None if stop is None else far_part(growing, start, stop)
        far = None
        if part is not None:
            far = await self._far.fetch(target, digest, growing.size, part)
            if far is None:
                # The transfer may have come to its end meanwhile.
                return await self.open(target, digest, head, start)
        self._metrics.miss("blob", target.upstream.namespace)
        size = growing.size if far is None else far.size
        outcome = Outcome.JOINED if joined and far is None else Outcome.MISS
        return OpenBlob(digest, size, outcome, growing, self._instead(target, digest, size), far)

    def _instead(self, target: Target, digest: Digest, size: int | None) -> Instead:
        """Return what finds another source for a reader, who has been told that there are *size* bytes."""

        async def instead(error: StoreError | LostPlace, position: int) -> Source:
            if isinstance(error, LostPlace):
                if error.cause is not None:
                    self._trouble.failed(READ, error.cause)
                growing = await self._transfers.alone(target, digest, size, error.had)
            else:
                self._trouble.failed(READ, error)
                growing = await self._transfers.join(target, digest, size, position)
            return growing.follow(position)

        return instead

    async def size(self, target: Target, digest: Digest) -> BlobSize:
        """Return a blob's size without downloading it. Raises upstream's `RegistryError`."""
        growing = self._transfers.running(target, digest)
        if growing is not None and growing.size is not None:
            return BlobSize(growing.size, Outcome.JOINED)
        known = self._known_size(target, digest)
        stored = await self._trouble.despite(READ, self._store.size(digest, known), None)
        if stored is not None:
            self._metrics.hit("blob", target.upstream.namespace)
            return BlobSize(stored, Outcome.HIT)
        self._metrics.miss("blob", target.upstream.namespace)
        size = await target.upstream.blob_size(target.repository, digest)
        size = known if size is None else size
        if size is None:
            raise BadGateway(f"upstream does not say how long {digest} is")
        return BlobSize(size, Outcome.MISS)

    def _known_size(self, target: Target, digest: Digest) -> int | None:
        return self._sizes.get(target.upstream.namespace, target.repository, digest)

    async def _stored(self, look: Callable[[], Awaitable[StoredBlob | None]]) -> StoredBlob | None:
        """Look in the store, again if something was committed while we looked."""
        while True:
            commits = self._transfers.commits
            stored = await self._trouble.despite(READ, look(), None)
            if stored is not None or commits == self._transfers.commits:
                return stored


async def _certainly(growing: GrowingBlob) -> GrowingBlob:
    """Return the blob, or what comes in its place if it is said to be empty and is not.

    Nothing can be held back of an empty blob: its digest must be known before the headers leave.
    """
    while growing.size == 0:
        follower = growing.follow()
        try:
            data = follower.read(1)
            if isinstance(data, Deferred):
                await data
            break
        except TransferFailed:
            while growing.successor is not None:
                growing = growing.successor
            if growing.failure is not None:
                raise
        finally:
            follower.close()
    return growing
