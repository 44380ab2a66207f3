"""Pauses that the servers of one host have requested (``Retry-After``, RFC 9110 section 10.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from attrs import define, field
from cachetools import Cache, LRUCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.upstream.breaker_keys import Endpoint, Key, keys_of, source_of
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import ApiRequest


@define
class _Pause:
    """The end of a pause, and the end for each of the sources that were limited; two are enough."""

    until: float = 0.0
    sources: dict[str, float] = field(factory=dict)


class Pauses:
    """What may not be requested from a host yet, because of its rate limits.

    A limit counts for its own subject first; for the repository only if two of its subjects are
    limited at the same time; for the kind only if two repositories are. *paused* is called with key
    and end of a pause that begins or becomes longer.
    """

    def __init__(
        self, clock: IReactorTime, limits: UpstreamLimits, paused: Callable[[Key, float], None]
    ) -> None:
        self._clock = clock
        self._longest = limits.retry_after
        self._paused = paused
        self._pauses: LRUCache[Key, _Pause] = LRUCache(limits.remembered)

    def __len__(self) -> int:
        return len(self._pauses)

    def of(self, endpoint: Endpoint, request: ApiRequest) -> list[tuple[float, Key]]:
        """Return the pauses of a request, from kind to subject: the seconds that are left, and the key."""
        found = ((self._left(self._pauses.get(key)), key) for key in keys_of(endpoint, request))
        return [(left, key) for left, key in found if left]

    def current(self, most: int) -> list[tuple[Key, float]]:
        """Return at most so many of the keys that are paused now, with the seconds that are left."""
        # The table's own way to look up an entry would count as a use of it.
        found = ((key, self._left(Cache.__getitem__(self._pauses, key))) for key in self._pauses)
        return list(islice(((key, left) for key, left in found if left), most))

    def record_limit(self, endpoint: Endpoint, request: ApiRequest, seconds: float) -> None:
        """Record that the server has rate limited such requests for *seconds*."""
        now = self._clock.seconds()
        until = now + min(seconds, self._longest)
        for key in keys_of(endpoint, request):
            pause = self._pauses.setdefault(key, _Pause())
            pause.sources = {s: u for s, u in pause.sources.items() if u > now}
            source = source_of(key, request)
            if source in pause.sources or len(pause.sources) < 2:
                pause.sources[source] = until
            proven = len(key) == 3 or len(pause.sources) > 1
            # An earlier moment changes nothing.
            if proven and until > pause.until:
                pause.until = until
                self._paused(key, until)

    def record_success(self, endpoint: Endpoint, request: ApiRequest) -> None:
        """Record a response: in each key that is not paused, a limited source counts alone again."""
        for key in keys_of(endpoint, request):
            pause = self._pauses.get(key)
            if pause is not None and pause.until <= self._clock.seconds():
                del self._pauses[key]

    def _left(self, pause: _Pause | None) -> float:
        left = 0.0 if pause is None else pause.until - self._clock.seconds()
        # The clock has been set back if more is left than any pause lasts.
        return left if 0 < left <= self._longest else 0.0
