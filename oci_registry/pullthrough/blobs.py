"""Blobs: from the store, from a running transfer, or from a new one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.blob_size import ask_size
from oci_registry.pullthrough.fallback import Fallback, FallbackSource
from oci_registry.pullthrough.far import FarLimits, FarRange, FarRanges
from oci_registry.pullthrough.hits import BlobHit, BlobHits
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.sizes import KnownSizes, possible
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RangeInvalid
from oci_registry.spec.ranges import ByteRange, RequestedRange
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import KeptObjects, StoreError
from oci_registry.storage.open_blob import StoredBlob, Withdrawn
from oci_registry.streams.follower import Follower, LostPlace, TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.interfaces import Source
from oci_registry.upstream.table import Target

T = TypeVar("T")

SETTLING = 5.0
"""Seconds to wait for the size of a small blob that upstream does not announce: the headers leave then."""


@frozen
class OpenBlob:
    """A blob that can be read: take one source from it, or close it.

    Take the source before waiting for anything else: a transfer that has ended keeps its bytes only for
    readers that follow it by then.

    *size* in bytes; None if upstream did not announce it. *sure*: the size does not come from a
    manifest alone. *waited*: seconds since upstream's answer that the wait for the size has taken.
    """

    digest: Digest
    size: int | None
    sure: bool
    outcome: Outcome
    _blob: StoredBlob | GrowingBlob
    _fallback: Fallback
    _far: FarRange | None = None
    waited: float = 0.0
    _held: Follower | None = None
    """A follower that keeps an unstored blob alive until there is a source."""

    @property
    def cached(self) -> bool:
        """Whether it came from the store."""
        return self.outcome is Outcome.HIT

    @property
    def far(self) -> bool:
        """Whether a range is fetched separately while the download continues for others."""
        return self._far is not None

    @property
    def being_stored(self) -> bool:
        """Whether the download is written to the store."""
        return isinstance(self._blob, GrowingBlob) and self._blob.being_stored

    def part(self, asked: RequestedRange | None) -> ByteRange | None:
        """Return the part of the blob for a requested range; None means the whole.

        Raises `RangeInvalid`. A range may be ignored if the size is not known (RFC 9110 section 14.2).
        """
        if asked is None or self.size is None:
            return None
        try:
            return asked.of(self.size)
        except RangeInvalid:
            if self.sure:
                raise
            return None

    def source(self, start: int, stop: int | None) -> Source:
        """Return the bytes from *start*; the source must be closed, and the blob then is."""
        if self._far is not None:
            if (start, stop) == (self._far.part.start, self._far.part.stop):
                return self._far
            self._far.close()
        if isinstance(self._blob, StoredBlob):
            end = self._blob.size if stop is None else stop
            return FallbackSource(self._blob.source(start, end), start, end, self._fallback)
        follower = self._blob.follow(start, self.size)
        if self._held is not None:
            self._held.close()
        return FallbackSource(follower, start, stop, self._fallback)

    def keep(self) -> KeptObjects | None:
        """Keep the blob open, and return what reads it; None if it is not stored or cannot be kept."""
        return self._blob.keep() if isinstance(self._blob, StoredBlob) else None

    def close(self) -> None:
        """Close the blob, from which no source was taken."""
        if self._far is not None:
            self._far.close()
        if self._held is not None:
            self._held.close()
        if isinstance(self._blob, StoredBlob):
            self._blob.close()


@frozen
class BlobSize:
    """The size of a blob in bytes, and where it was found."""

    size: int
    outcome: Outcome


class BlobCache:
    """The blobs of all registries, downloaded when they are first requested."""

    _log = Logger()

    def __init__(
        self,
        store: BlobStore,
        transfers: Transfers,
        sizes: KnownSizes,
        health: StoreHealth,
        metrics: Metrics,
        far: FarLimits = FarLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._transfers = transfers
        self._sizes = sizes
        self._health = health
        self._metrics = metrics
        self._far = FarRanges(transfers.clock, metrics, far)
        self._hits: BlobHits | None = None

    async def link(self, target: Target, digest: Digest) -> str | None:
        """Return a URL at which clients can fetch a stored blob; None if it or such URLs do not exist."""
        hint = self._hint(target, digest)
        url = await self._health.or_default(READ, self._store.link(digest, hint), None)
        if url is not None:
            self._metrics.hit("blob", target.upstream.namespace)
        return url

    async def open(
        self,
        target: Target,
        digest: Digest,
        head: int,
        asked: RequestedRange | None = None,
        *,
        beside: bool = True,
    ) -> OpenBlob:
        """Return the blob, while its first bytes are being fetched. Raises upstream's `RegistryError`.

        *asked*: the requested range, None for the whole. *head*: how many bytes of it to read on opening.
        *beside*: whether the range may be fetched separately from the transfer.
        """
        hint = self._hint(target, digest)
        start, stop = (0, None) if asked is None else asked.expected
        growing = self._transfers.running(target, digest, start)
        joined = growing is not None
        if growing is None:
            stored = await self._look(
                digest, lambda: self._store.open(digest, head, hint, start, stop)
            )
            if stored is not None:
                self._contradict(target, digest, stored.size)
                self._metrics.hit("blob", target.upstream.namespace)
                fallback = self._fallback(target, digest, stored.size)
                return OpenBlob(digest, stored.size, True, Outcome.HIT, stored, fallback)
            joined = self._transfers.can_be_joined(target, digest, start)
            growing = await self._transfers.join(target, digest, hint, start)
        far, held = None, None
        answered = self._transfers.clock.seconds()
        if asked is not None and beside and self._far.wants(asked, growing, hint):
            far = await self._far.fetch(target, digest, asked, growing, hint)
            if far is None:
                # The transfer may have ended meanwhile.
                return await self.open(target, digest, head, asked, beside=False)
        else:
            self._transfers.add_client(growing)
            growing, held = await self._settled(growing, hint)
        namespace = target.upstream.namespace
        self._metrics.miss("blob", namespace)
        if not start:
            # Counted once, at the start, for a client that fetches a blob in parts.
            self._metrics.pulls.missed(namespace, target.repository, digest)
        announced = growing.size if far is None else far.size
        if announced is not None:
            self._contradict(target, digest, announced)
        size = hint if announced is None else announced
        outcome = Outcome.JOINED if joined and far is None else Outcome.MISS
        fallback = self._fallback(target, digest, size)
        waited = self._transfers.clock.seconds() - answered
        return OpenBlob(
            digest, size, announced is not None, outcome, growing, fallback, far, waited, held
        )

    async def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether a blob is stored, which counts as a use. *size*: as a manifest states it."""
        return await self._look(digest, lambda: self._store.size(digest, size)) is not None

    def is_running(self, target: Target, digest: Digest) -> bool:
        """Whether a download of the blob is under way that a client could join now."""
        return self._transfers.can_be_joined(target, digest)

    def received(self, target: Target, digest: Digest) -> int:
        """Return how many bytes a running download has brought."""
        growing = self._transfers.running(target, digest)
        return 0 if growing is None else growing.received

    def has_room(self, target: Target) -> bool:
        """Whether there is room for a download that no client waits for, beside the running ones."""
        return self._transfers.has_room(target)

    async def download(self, target: Target, digest: Digest, size: int | None) -> str | None:
        """Download a blob that is not stored and that no client waits for; see `Transfers.complete`."""
        return await self._transfers.complete(target, digest, size)

    def hit(self, target: Target, blob: OpenBlob) -> BlobHit | None:
        """Return what repeats the hit of an open blob, if that can be repeated; close it."""
        if blob.outcome is not Outcome.HIT or blob.size is None or not self._store.trusts:
            return None
        kept = blob.keep()
        if kept is None:
            return None
        if self._hits is None or self._hits.kept is not kept:
            self._hits = BlobHits(self._store, self._transfers, self._sizes, self._health, kept)
        packed = self._hits.pack(target, blob.digest, blob.size)
        count = self._metrics.hits("blob", target.upstream.namespace)
        return BlobHit(self._hits, packed, blob.size, count)

    def _fallback(self, target: Target, digest: Digest, size: int | None) -> Fallback:
        """Return the fallback of a reader; *size*: the size that was announced to its client, in bytes."""

        async def fallback(error: StoreError | LostPlace, position: int) -> Source:
            if isinstance(error, LostPlace):
                if error.cause is not None:
                    self._note_failure(error.cause, digest)
                growing = await self._transfers.private(target, digest, size, error.had)
            else:
                if not isinstance(error, Withdrawn):
                    self._note_failure(error, digest)
                growing = await self._transfers.join(target, digest, size, position)
                self._transfers.add_client(growing)
            return growing.follow(position, size)

        return fallback

    def _note_failure(self, error: Exception, digest: Digest) -> None:
        if isinstance(error, EOFError):
            # Only this file: nothing is wrong with the store.
            self._metrics.error("store")
            self._log.warn(
                "the file of {digest} was truncated, so the blob is downloaded again",
                digest=str(digest),
            )
        else:
            self._health.record_failure(READ, error)

    async def size(self, target: Target, digest: Digest) -> BlobSize:
        """Return a blob's size without downloading it. Raises upstream's `RegistryError`."""
        growing = self._transfers.running(target, digest)
        under_way = None if growing is None else possible(digest, growing.size)
        if under_way is not None:
            return BlobSize(under_way, Outcome.JOINED)
        hint = self._hint(target, digest)
        stored = await self._look(digest, lambda: self._store.size(digest, hint))
        if stored is not None:
            self._contradict(target, digest, stored)
            self._metrics.hit("blob", target.upstream.namespace)
            return BlobSize(stored, Outcome.HIT)
        self._metrics.miss("blob", target.upstream.namespace)
        size = await ask_size(target, digest, hint, self._transfers.clock)
        self._contradict(target, digest, size)
        return BlobSize(size, Outcome.MISS)

    def _hint(self, target: Target, digest: Digest) -> int | None:
        return self._sizes.get(target.upstream.namespace, target.repository, digest)

    def _contradict(self, target: Target, digest: Digest, size: int) -> None:
        self._sizes.contradict(target.upstream.namespace, target.repository, digest, size)

    async def _settled(
        self, growing: GrowingBlob, hint: int | None
    ) -> tuple[GrowingBlob, Follower | None]:
        """Wait until the headers of a blob can be sent; return the blob or its successor.

        An empty blob must be verified before the headers, since it has no last bytes to hold back. For a
        small blob of unannounced size, this waits until the size is known. The returned follower, if any,
        keeps the blob alive; close it when there is another.
        """
        while growing.size == 0 and not growing.verified:
            growing = await _ended(growing)
        if growing.size is not None or hint is None or growing.visible:
            return growing, None
        held = growing.follow()
        try:
            data = held.read(1)
            if isinstance(data, Deferred):
                await data.addTimeout(SETTLING, self._transfers.clock)
        except (DeferredTimeout, TransferFailed):
            # The reader will get the error.
            pass
        except BaseException:
            held.close()
            raise
        return _latest(growing), held

    async def _look(self, digest: Digest, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """Look in the store, and again if the blob was committed meanwhile."""
        before = self._transfers.last_commit(digest)
        stored = await self._health.or_default(READ, look(), None)
        if stored is None and self._transfers.last_commit(digest) != before:
            stored = await self._health.or_default(READ, look(), None)
        return stored


async def _ended(growing: GrowingBlob) -> GrowingBlob:
    """Wait for the end of a blob that is announced as empty; return it or its successor.

    Raises `TransferFailed` if it failed and has no successor.
    """
    follower = growing.follow()
    try:
        data = follower.read(1)
        if isinstance(data, Deferred):
            await data
    except TransferFailed:
        if growing.successor is None:
            raise
    finally:
        follower.close()
    return _latest(growing)


def _latest(growing: GrowingBlob) -> GrowingBlob:
    while growing.successor is not None:
        growing = growing.successor
    return growing
