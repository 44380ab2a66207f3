"""A cache of negative responses: 404s and denials."""

from __future__ import annotations

from attrs import frozen
from cachetools import FIFOCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.upstream.requests import ApiRequest


@frozen
class _Entry:
    """A negative response, and the time in seconds until which it is used."""

    error: RegistryError
    until: float


class NegativeCache:
    """The negative responses of one upstream, each for exactly one request.

    A 404 of one tag says nothing about others, and a response to ``HEAD`` says nothing about
    ``GET``. *not_found* and *denied*: seconds that a 404, and a 401 or 403, is kept; 0 keeps none.
    Beyond *entries*, the oldest are dropped. Expired ones are dropped too, before a new one is kept.
    """

    def __init__(
        self, clock: IReactorTime, *, not_found: float, denied: float, entries: int = 4096
    ) -> None:
        self._clock = clock
        self._not_found = not_found
        self._denied = denied
        self._entries: FIFOCache[ApiRequest, _Entry] = FIFOCache(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self, request: ApiRequest) -> None:
        """Raise the cached error of *request*, if there is one."""
        entry = self._entries.get(request)
        if entry is None:
            return
        now = self._clock.seconds()
        # An entry from the future is one from before the clock was set back.
        if now < entry.until <= now + max(self._not_found, self._denied):
            raise entry.error.again()
        del self._entries[request]

    def remember(self, request: ApiRequest, error: RegistryError) -> None:
        """Cache a negative response."""
        lifetime = self._denied if isinstance(error, Denied) else self._not_found
        if lifetime <= 0:
            return
        now = self._clock.seconds()
        self._drop_expired(now)
        kept = error.again()
        kept.from_cache = True
        self._entries[request] = _Entry(kept, now + lifetime)

    def _drop_expired(self, now: float) -> None:
        """Drop the oldest entries while they are expired."""
        while self._entries:
            oldest = next(iter(self._entries))
            if now < self._entries[oldest].until:
                return
            del self._entries[oldest]
