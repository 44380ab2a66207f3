"""A table of circuit breakers, one for each key of a host."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from cachetools import Cache, LRUCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.streams.breaker import CircuitBreaker, Random
from oci_registry.streams.waiters import Waiters
from oci_registry.upstream.breaker_keys import Key
from oci_registry.upstream.limits import UpstreamLimits


@define(eq=False)
class KeyedBreaker:
    """The circuit breaker of a key, the *sources* of its failures, and what waits for its probe."""

    key: Key
    breaker: CircuitBreaker
    sources: set[str] = field(factory=set)
    probed: Waiters[None] = field(factory=Waiters)

    def count(self, source: str, *, conclusive: bool) -> bool:
        """Record the source of a failure; return whether the failures count for the whole key."""
        if len(self.sources) < 2:
            self.sources.add(source)
        return conclusive or len(self.key) == 3 or len(self.sources) > 1

    def close(self) -> None:
        """Close the breaker, and wake everything that waits for a probe."""
        self.breaker.record_success()
        self.sources.clear()
        self.probed.fire(None)

    def end_probe(self, probe: object) -> None:
        """End a probe; if it had no outcome, another may begin."""
        if self.breaker.end_probe(probe):
            self.probed.fire(None)


class BreakerTable(LRUCache[Key, KeyedBreaker]):
    """The breakers that were used last; waiters for an evicted one are woken."""

    def __init__(self, clock: IReactorTime, random: Random, limits: UpstreamLimits) -> None:
        super().__init__(limits.remembered)
        self._clock = clock
        self._random = random
        self._limits = limits.breaker

    def take(self, key: Key) -> KeyedBreaker:
        """Return the breaker of a key, a new one if there is none."""
        keyed = self.get(key)
        if keyed is None:
            breaker = CircuitBreaker(self._clock, self._limits, self._random)
            keyed = self[key] = KeyedBreaker(key, breaker)
        return keyed

    def kept(self) -> Iterator[KeyedBreaker]:
        """Return all breakers; this does not count as a use."""
        return (Cache.__getitem__(self, key) for key in self)

    def popitem(self) -> tuple[Key, KeyedBreaker]:
        """Evict the least recently used breaker and return it."""
        key, keyed = super().popitem()
        keyed.probed.fire(None)
        return key, keyed
