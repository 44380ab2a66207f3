"""The sizes of single upstreams: images of each are evicted so that it stays below its own limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.images import registry_size
from oci_registry.account.nouns import Sums
from oci_registry.eviction.attempts import PACE, Attempts
from oci_registry.eviction.evictor import Evicted, Evictor
from oci_registry.metrics import Metrics
from oci_registry.spec.sizes import Size
from oci_registry.spec.units import counted, in_bytes
from oci_registry.storage.room import NoRoom
from oci_registry.streams.flight import SingleFlight


@frozen
class Fractions:
    """Fractions of a limit: how full it is after an eviction (*low*), and before one in advance
    (*high*); *largest*: that of the largest blob that is stored.
    """

    low: float = 0.95
    high: float = 0.98
    largest: float = 0.25


FRACTIONS = Fractions()


@define
class _Upstream:
    """The size of one upstream, in bytes.

    *used*: the measured size; None before that. *since*: an upper bound of what was stored since then.
    *reserved*: for blobs that are being downloaded. *sums*: those of the whole store when it was measured.
    """

    cap: int
    attempts: Attempts
    used: int | None = None
    since: int = 0
    reserved: int = 0
    sums: Sums | None = None
    measure_at: float = 0.0

    def room(self, part: float = 1.0) -> float:
        """Return how many bytes there is room for, if *part* of the limit may be used."""
        return self.cap * part - (self.used or 0) - self.since - self.reserved


class UpstreamSizes:
    """Keeps the images of each upstream below its limit.

    The size of an upstream is that of its manifests, and of all blobs that they name; a blob that several
    upstreams need counts for each. *patience*: seconds for which a pull waits for room; *again*:
    seconds until another attempt after one that has freed nothing, or `PACE` times its duration.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account,
        evictor: Evictor,
        clock: IReactorTime,
        metrics: Metrics,
        patience: float,
        again: float,
    ) -> None:
        self._account = account
        self._evictor = evictor
        self._clock = clock
        self._metrics = metrics
        self._patience = patience
        self._again = again
        self._upstreams: dict[str, _Upstream] = {}
        self._evicting: SingleFlight[str, Evicted] = SingleFlight()

    def follow(self, limits: Mapping[str, Size]) -> None:
        """Use these limits from now on, by namespace."""
        for host in set(self._upstreams) - set(limits):
            del self._upstreams[host]
            self._metrics.forget_upstream_size(host)
        for host, size in limits.items():
            attempts = Attempts(self._again)
            known = self._upstreams.setdefault(host, _Upstream(size.bytes, attempts))
            known.cap, known.attempts = size.bytes, attempts
            self._metrics.upstream_limit_bytes.labels(host).set(size.bytes)

    def __bool__(self) -> bool:
        return bool(self._upstreams)

    async def stop(self) -> None:
        """Evict no more."""
        await self._evicting.stop()

    async def reserve(self, host: str, want: int) -> Callable[[], None]:
        """Reserve *want* bytes for a blob; return a function that releases them. Raises `NoRoom`."""
        upstream = self._upstreams.get(host)
        if upstream is None:
            return _nothing
        if want > upstream.cap * FRACTIONS.largest:
            self._metrics.not_stored.labels("too_large").inc()
            raise NoRoom(
                f"it is larger than a quarter of the limit of {host} ({in_bytes(upstream.cap)})"
            )
        if self._account.is_complete:
            await self._make_room(host, upstream, want)
            if upstream.room() < want:
                self._metrics.not_stored.labels("no_room").inc()
                raise NoRoom(f"the limit of {host} is reached")
        upstream.reserved += want

        def release() -> None:
            upstream.reserved -= want
            # Until it is measured again, it counts as stored.
            upstream.since += want

        return release

    async def _make_room(self, host: str, upstream: _Upstream, want: int) -> None:
        if upstream.used is None:
            await self._measure(host, upstream)
        until = self._clock.seconds() + self._patience
        for _ in range(2):
            left = until - self._clock.seconds()
            may_begin = upstream.attempts.may_begin(self._clock.seconds())
            if upstream.room() < want and left > 0 and may_begin:
                with suppress(DeferredTimeout):
                    await self._evict(host, upstream, want).addTimeout(left, self._clock)

    async def look(self) -> None:
        """Measure upstreams that have changed, and evict in advance."""
        for host, upstream in list(self._upstreams.items()):
            state = self._account.state
            if state is None or not self._account.is_complete:
                return
            changed = state.sums != upstream.sums or upstream.since
            if changed and self._clock.seconds() >= upstream.measure_at:
                await self._measure(host, upstream)
            may_begin = upstream.attempts.may_begin(self._clock.seconds())
            if upstream.used is not None and upstream.room(FRACTIONS.high) < 0 and may_begin:
                await self._evict(host, upstream, 0)

    async def _measure(self, host: str, upstream: _Upstream) -> None:
        began, before = self._clock.seconds(), upstream.since
        await self._account.flush()
        state = self._account.state
        try:
            used = await self._account.ask(registry_size(host))
        except AccountOff:
            # The account was switched off meanwhile, which is logged.
            return
        upstream.used = used
        upstream.since -= before
        upstream.sums = None if state is None else state.sums
        now = self._clock.seconds()
        upstream.measure_at = now + PACE * (now - began)
        if self._upstreams.get(host) is upstream:
            self._metrics.upstream_store_bytes.labels(host).set(used)

    def _evict(self, host: str, upstream: _Upstream, want: int) -> Deferred[Evicted]:
        """Evict down to the low watermark minus *want* bytes."""

        async def evict() -> Evicted:
            if upstream.since:
                # Blobs that count as stored may have been given up.
                await self._measure(host, upstream)
            need = int(want - upstream.room(FRACTIONS.low))
            if need <= 0:
                return Evicted()
            began = self._clock.seconds()
            evicted = await self._evictor.free(need, host)
            self._report(host, upstream, evicted, need, began)
            await self._measure(host, upstream)
            return evicted

        return self._evicting.run(host, evict).addErrback(self._failed)

    def _report(
        self, host: str, upstream: _Upstream, evicted: Evicted, need: int, began: float
    ) -> None:
        if upstream.attempts.ended(evicted.size, need, began, self._clock.seconds()):
            self._log.warn(
                "only {freed} of {need} could be evicted of {host}: the rest is in use or pinned",
                need=in_bytes(need),
                freed=in_bytes(evicted.size),
                host=host,
            )
        if evicted.size:
            self._log.info(
                "evicted {images} of {host} ({freed}) to stay within its limit",
                images=counted(evicted.images, "image"),
                host=host,
                freed=in_bytes(evicted.size),
            )

    def _failed(self, failure: Failure) -> Evicted:
        # The eviction is cancelled when the daemon stops.
        if not failure.check(CancelledError):
            self._metrics.error("eviction")
            self._log.failure("the eviction failed", failure)
        return Evicted()


def _nothing() -> None:
    """Release nothing."""
