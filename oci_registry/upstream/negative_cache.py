"""What an upstream does not have, or does not give, remembered for a short while."""

from __future__ import annotations

from attrs import frozen
from cachetools import FIFOCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.upstream.requests import ApiRequest


@frozen
class _Entry:
    error: RegistryError
    until: float


class NegativeCache:
    """The negative answers of one upstream, each for its very request.

    That one tag is refused says nothing about another, nor does what ``HEAD`` gets about ``GET``.
    *not_found* and *denied*: seconds that a 404, and a 401 or 403, is kept; 0 keeps none. Of more than
    so many *entries* the oldest are dropped.
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
        """Raise the negative answer that *request* got, if one is kept."""
        entry = self._entries.get(request)
        if entry is None:
            return
        now = self._clock.seconds()
        # An entry from the future is one from before the clock was set back.
        if now < entry.until <= now + max(self._not_found, self._denied):
            raise entry.error.again()
        del self._entries[request]

    def remember(self, request: ApiRequest, error: RegistryError) -> None:
        """Keep the negative answer that upstream has given."""
        lifetime = self._denied if isinstance(error, Denied) else self._not_found
        if lifetime <= 0:
            return
        kept = error.again()
        kept.from_cache = True
        self._entries[request] = _Entry(kept, self._clock.seconds() + lifetime)
