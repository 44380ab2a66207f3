"""The limits of the store: room is reserved before a blob is written, and made by evicting images."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from math import isinf

from attrs import frozen
from cachetools import FIFOCache
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.account.account import Account
from oci_registry.account.newest import NewestTags
from oci_registry.account.nouns import on_disk
from oci_registry.eviction.announcements import Announce
from oci_registry.eviction.attempts import Attempts
from oci_registry.eviction.evictor import Evicted, Evictor
from oci_registry.eviction.other_use import OtherUse
from oci_registry.eviction.store_use import Limits, StoreUse
from oci_registry.eviction.upstream_sizes import FRACTIONS, UpstreamSizes
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.units import counted, in_bytes
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.room import NoRoom, Release
from oci_registry.streams.flight import SingleFlight


@frozen
class LimitTimes:
    """The times of the limit, in seconds. *patience*: how long a pull waits for room; *watch*: between
    two checks of the store; *again*: until another attempt after one that has freed nothing, or `PACE`
    times its duration; *recorded*: how long recording the manifest of a blob without room may take;
    *claim*: between two claims of a bucket.
    """

    patience: float = 1.0
    watch: float = 2.0
    again: float = 1.0
    recorded: float = 30.0
    claim: float = 60.0


RESERVE = 2 * 1024 * 1024
"""Bytes of disk space that the account reserves, so that it works on a full disk."""
_MISSING = 1000
"""Blobs without room that are remembered."""
LOW = FRACTIONS.low
"""How full the store is after an eviction, as a part of the limit."""
HIGH = FRACTIONS.high
"""How full it is when images are evicted in advance."""
LARGEST = FRACTIONS.largest
"""The largest blob that is stored, as a part of the limit."""


class StoreLimit:
    """Keeps the store of *account* below its limits; a `Room`.

    A blob that finds no room is served without being stored. While the account is not complete, nothing
    is evicted, and all that is on the volume counts as stored.

    *shared*: it is a bucket, which one of several replicas keeps below its limit. The others store
    without a limit, and so does this one until its account is complete.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account,
        evictor: Evictor,
        driver: IDriver,
        clock: IReactorTime,
        metrics: Metrics,
        limits: Limits,
        times: LimitTimes = LimitTimes(),
        *,
        shared: bool = False,
    ) -> None:
        other = OtherUse(driver, clock.seconds)
        self.use = StoreUse(account, driver, metrics, limits, other, shared=shared)
        """How much the store takes, and may take."""
        self._account = account
        self._evictor = evictor
        self._clock = clock
        self._metrics = metrics
        self._times = times
        self._shared = shared
        evictor.compare_first = shared
        self._evicting: SingleFlight[str, Evicted] = SingleFlight()
        self._attempts = Attempts(times.again)
        # Blobs that had no room, and the time since when.
        self._missing: FIFOCache[Digest, float] = FIFOCache(_MISSING)
        self._looking: Deferred[object] | None = None
        self._refused_unknown = False
        self.upstreams = UpstreamSizes(
            account, evictor, clock, metrics, times.patience, times.again
        )
        """The limits of single upstreams."""
        self._watching = LoopingCall(self._watch)
        self._watching.clock = clock
        metrics.store_reserved_bytes.set_function(lambda: self.use.reserved)

    def start(self) -> None:
        """Check the store periodically from now on."""
        self._watching.start(self._times.watch, now=False)

    def tell(self, evicted: Callable[[Evicted], None]) -> None:
        """Call *evicted* after each round that has evicted something."""
        self._evictor.evicted = evicted

    def announce(self, announce: Announce) -> None:
        """Have *announce* tell other daemons on the same store what is evicted."""
        self._evictor.announcements.announce = announce

    def keep_forever(self, is_forever: Callable[[str], bool]) -> None:
        """Never evict images of registries for which this is true."""
        self._evictor.is_forever = is_forever

    def promote(self, scarce: Callable[[], Collection[str]]) -> None:
        """Do not evict images of these registries on probation, since little is left of their rate limits."""
        self._evictor.scarce = scarce

    def keep_newest(self, newest: NewestTags) -> None:
        """Evict the images of these tags when nothing else is left."""
        self._evictor.newest = newest

    def newest_tags(self, host: str) -> int:
        """Return how many of the newest tags of each repository of a registry are evicted last."""
        return self._evictor.newest.of(host)

    async def stop(self) -> None:
        """Evict no more."""
        if self._watching.running:
            self._watching.stop()
        if self._looking is not None:
            self._looking.cancel()
        await self._evicting.stop()
        await self.upstreams.stop()
        # Last, since a store that is slow may use up the time for this.
        if self._missing and self._account.is_complete:
            # The next start does not know them.
            await self._drop_incomplete()

    # -- for operators

    @property
    def evictor(self) -> Evictor:
        """What evicts images."""
        return self._evictor

    # -- for downloads

    def reserve(
        self, digest: Digest, size: int | None, namespace: str = ""
    ) -> Deferred[Release | None]:
        """Reserve room for a blob of *size* bytes, evicting images if there is too little."""
        if not self.use.is_limited and not self.upstreams:
            return succeed(None)
        return Deferred.fromCoroutine(self._reserve(digest, on_disk(size or 0), namespace))

    def has_room(self, size: int) -> bool:
        """Whether there is room for *size* bytes without evicting anything, now or before long."""
        return self.use.room(HIGH) >= on_disk(size)

    async def _reserve(self, digest: Digest, want: int, namespace: str) -> Release:
        try:
            release_own = await self.upstreams.reserve(namespace, want)
            try:
                release = await self._reserve_in_store(want)
            except BaseException:
                release_own()
                raise
        except NoRoom:
            self._missing[digest] = self._clock.seconds()
            raise

        def release_both() -> None:
            if held:
                held.clear()
                release()
                release_own()

        held = [True]
        return release_both

    async def _reserve_in_store(self, want: int) -> Release:
        await self.use.measure()
        cap = self.use.cap()
        if cap is not None and want > cap * LARGEST:
            self._metrics.not_stored.labels("too_large").inc()
            raise NoRoom(f"it is larger than a quarter of the limit of the store ({in_bytes(cap)})")
        if not self._account.is_complete:
            if self._shared or self.use.room() >= want:
                return self._take(want)
            self._metrics.not_stored.labels("unknown").inc()
            if not self._refused_unknown:
                self._refused_unknown = True
                self._log.warn(
                    "layers are served without being stored: it is not yet known how much is stored, "
                    "and the volume has no room for more within the limits"
                )
            raise NoRoom("it is not yet known how much is stored")
        self._refused_unknown = False
        await self._make_room(want)
        if self.use.room() < want:
            self._metrics.not_stored.labels("no_room").inc()
            raise NoRoom("the limit of the store is reached")
        return self._take(want)

    async def _make_room(self, want: int) -> None:
        """Evict images for *want* bytes; return after a while even if the eviction is still running."""
        until = self._clock.seconds() + self._times.patience
        for _ in range(2):
            # A running eviction may have been for a blob that needs less.
            left = until - self._clock.seconds()
            evicting = self._evict(want) if self.use.room() < want and left > 0 else None
            if evicting is not None:
                with suppress(DeferredTimeout):
                    await evicting.addTimeout(left, self._clock)

    def _take(self, want: int) -> Release:
        self.use.reserved += want
        held = [want]

        def flushed(_: object, size: int) -> None:
            self.use.reserved -= size

        def release() -> None:
            if held:
                # After this, stored blobs are in the account, so they are counted twice only for a
                # short time.
                self._account.flush().addBoth(flushed, held.pop())

        return release

    def full(self) -> None:
        """The disk is full: evict a twentieth of what is stored."""
        if self.use.is_limited:
            self._evict(0, at_least=int((1 - LOW) * self.use.stored()))

    # -- eviction

    def _watch(self) -> Deferred[object]:
        looking: Deferred[object] = Deferred.fromCoroutine(self._look())
        self._looking = looking
        return looking.addErrback(self._failed).addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _look(self) -> None:
        if not self.use.is_limited and not self.upstreams:
            return
        await self.use.measure()
        if self._account.is_complete:
            await self.use.other.look()
        if self._account.is_complete and self.use.room(HIGH) < 0:
            evicting = self._evict(0)
            if evicting is not None:
                await evicting
        await self.upstreams.look()
        if self._missing:
            await self._drop_incomplete()

    async def _drop_incomplete(self) -> None:
        """Evict images without the blobs that were not stored; manifests may be recorded a little later."""
        if self._account.state is None:
            # They are known again when the account is complete.
            return
        missing = dict(self._missing)
        # Images are evicted whole: their other blobs would only be in the way.
        scarce = self.use.room(LOW) < 0
        count = await self._evictor.drop_incomplete(list(missing), with_blobs=scarce)
        for digest, since in missing.items():
            if (
                # Until then it may not know a manifest that was stored before.
                self._account.is_complete
                and self._clock.seconds() - since > self._times.recorded
                and self._missing.get(digest) == since
            ):
                del self._missing[digest]
        if count:
            self._log.info(
                "evicted {images} without a layer that was not stored",
                images=counted(count, "image"),
            )

    def _evict(self, want: int, at_least: int = 0) -> Deferred[Evicted] | None:
        """Evict down to the low watermark minus *want* bytes; None shortly after a failed attempt."""
        if not self._attempts.may_begin(self._clock.seconds()):
            return None

        async def evict() -> Evicted:
            most = max(at_least, want - self.use.room(LOW))
            if isinf(most):
                # The account is off, as on a full disk: it is unknown what is stored.
                return Evicted()
            need = int(most)
            began = self._clock.seconds()
            evicted = await self._evictor.free(need)
            self._report(evicted, need, began)
            await self.use.measure()
            return evicted

        evicting = self._evicting.run("evict", evict)
        evicting.addErrback(self._failed)
        return evicting

    def _report(self, evicted: Evicted, need: int, began: float) -> None:
        if self._attempts.ended(evicted.size, need, began, self._clock.seconds()):
            self._log.warn(
                "only {freed} of {need} could be evicted from the store: "
                "the rest is in use, pinned or of a registry that is offline",
                need=in_bytes(need),
                freed=in_bytes(evicted.size),
            )
        if evicted.size:
            self._log.info(
                "evicted {images} and {blobs} ({freed}) to stay within the limits: "
                "{stored} are stored",
                images=counted(evicted.images, "image"),
                blobs=counted(evicted.blobs, "blob"),
                freed=in_bytes(evicted.size),
                stored=in_bytes(self.use.stored()),
            )

    def _failed(self, failure: Failure) -> Evicted:
        # The eviction is cancelled when the daemon stops.
        if not failure.check(CancelledError):
            self._metrics.error("eviction")
            self._log.failure("the eviction failed", failure)
        return Evicted()
