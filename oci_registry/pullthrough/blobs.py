"""Blobs: from the store, from a transfer under way, or from a transfer that is started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.rescue import Instead, RescuedSource
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.trouble import READ, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.storage.blobs import BlobStore, StoredBlob
from oci_registry.storage.interfaces import StoreError
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

    @property
    def cached(self) -> bool:
        """Whether it came from the store."""
        return self.outcome is Outcome.HIT

    def source(self, start: int, stop: int | None) -> Source:
        """Return the bytes from *start*; the source must be closed, and the blob then is."""
        if isinstance(self._blob, StoredBlob):
            end = self._blob.size if stop is None else stop
            return RescuedSource(self._blob.source(start, end), start, end, self._instead)
        return self._blob.follow(start)

    def close(self) -> None:
        """No source will be taken."""
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

        async def instead(error: StoreError, position: int) -> Source:
            self._trouble.failed(READ, error)
            return (await self._transfers.join(target, digest, size)).follow(position)

        growing = self._transfers.running(digest)
        joined = growing is not None
        if growing is None:
            stored = await self._stored(lambda: self._store.open(digest, head, size, start, stop))
            if stored is not None:
                self._metrics.hit("blob", target.upstream.namespace)
                return OpenBlob(digest, stored.size, Outcome.HIT, stored, instead)
            joined = self._transfers.can_be_joined(digest)
            growing = await self._transfers.join(target, digest, size)
        self._metrics.miss("blob", target.upstream.namespace)
        if growing.size == 0:
            # Nothing can be held back of an empty blob: wait for the digest before the headers.
            follower = growing.follow()
            try:
                await _result(follower.read(1))
            finally:
                follower.close()
        outcome = Outcome.JOINED if joined else Outcome.MISS
        return OpenBlob(digest, growing.size, outcome, growing, instead)

    async def size(self, target: Target, digest: Digest) -> BlobSize:
        """Return a blob's size without downloading it. Raises upstream's `RegistryError`."""
        growing = self._transfers.running(digest)
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


async def _result(data: bytes | Deferred[bytes]) -> bytes:
    return data if isinstance(data, bytes) else await data
