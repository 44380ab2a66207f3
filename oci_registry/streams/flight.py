"""Runs one piece of work at a time for each key, and shares its outcome with all callers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from oci_registry.streams.waiters import Waiters

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Shares running work among all callers with the same key.

    Every caller gets its own Deferred: the same value, or the same error. Cancelling one of them does
    not stop the work, since others may have joined and its result is worth keeping.
    """

    def __init__(self) -> None:
        self._waiters: dict[K, Waiters[V]] = {}
        self._work: dict[K, Deferred[V]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: K) -> bool:
        return key in self._waiters

    def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> Deferred[V]:
        """Return a Deferred of the result of ``start()``, which is called only if no such work is running."""
        if key in self._waiters:
            return self._waiters[key].wait()
        waiters = self._waiters[key] = Waiters()
        mine = waiters.wait()
        work = self._work[key] = Deferred.fromCoroutine(start())
        work.addBoth(self._end, key)
        work.addCallbacks(waiters.fire, waiters.fail)
        try:
            return mine
        finally:
            # The frames of work that has failed at once refer to this one, and this Deferred to that failure.
            del mine

    def _end(self, result: V | Failure, key: K) -> V | Failure:
        del self._work[key], self._waiters[key]
        return result

    async def stop(self) -> None:
        """Cancel all running work, and wait until it has ended.

        All callers get its outcome.
        """
        ended = [self._waiters[key].wait() for key in self._work]
        for work in list(self._work.values()):
            work.cancel()
        await DeferredList(ended, consumeErrors=True)
