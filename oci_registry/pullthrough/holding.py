"""The holds of tags as pulls need them: loaded before the first one, and read again from time to time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.storage.holds import Hold, HoldStore, Names
from oci_registry.storage.interfaces import StoreError

INTERVAL = 10.0
"""Seconds after which a daemon knows of holds that other processes have set."""
PATIENCE = 2.0
"""Seconds that a client waits for the first load; then it is served as if no tag was held."""


class Holding:
    """Finds holds. What cannot be read counts as a failure of the store, and the known holds stay."""

    def __init__(
        self,
        holds: HoldStore,
        clock: IReactorTime,
        health: StoreHealth,
        interval: float = INTERVAL,
    ) -> None:
        self._holds = holds
        self._clock = clock
        self._health = health
        self._interval = interval
        self._next_attempt = 0.0
        self._looping = LoopingCall(self._read)
        self._looping.clock = clock

    def start(self) -> None:
        """Read all holds now, and again every *interval* seconds."""
        self._looping.start(self._interval)

    def stop(self) -> None:
        """Read no more."""
        if self._looping.running:
            self._looping.stop()

    def watch(self, changed: Callable[[Names], None]) -> None:
        """Call *changed* with the names of each tag whose hold has changed."""
        self._holds.changed = changed

    async def find(self, host: str, repository: str, tag: str) -> Hold | None:
        """Return the hold of a tag. Never raises."""
        if not self._holds.loaded and self._clock.seconds() >= self._next_attempt:
            await self._read()
        return self._holds.find(host, repository, tag)

    def recall(self, host: str, repository: str, tag: str) -> Hold | None:
        """Return the hold of a tag, as far as the holds are in memory."""
        return self._holds.find(host, repository, tag)

    def _read(self) -> Deferred[None]:
        loading: Deferred[None] = Deferred.fromCoroutine(self._holds.load())
        if not self._holds.loaded and not loading.called:
            loading.addTimeout(PATIENCE, self._clock)
        return loading.addErrback(self._failed)

    def _failed(self, failure: object) -> None:
        error = getattr(failure, "value", None)
        self._next_attempt = self._clock.seconds() + self._interval
        if isinstance(error, CancelledError):
            return
        reason = str(error) if isinstance(error, StoreError) else "the holds were not read in time"
        if not isinstance(error, StoreError | DeferredTimeout):
            reason = f"the holds could not be read: {error!r}"
        self._health.record_failure(READ, StoreError(reason))
