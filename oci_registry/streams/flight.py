"""One piece of work at a time per key, its outcome shared by everyone who asked for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Join callers that ask for the same key while it is being worked on.

    Every caller gets its own Deferred: the same value, or the same error. A caller that cancels leaves
    alone; the work goes on, because others may have joined and its result is worth keeping.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[V]]] = {}
        self._work: dict[K, Deferred[V]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> Deferred[V]:
        """Return a Deferred of what ``start()`` gives, starting it only if no one has yet."""
        if key in self._waiting:
            return self._join(key)
        self._waiting[key] = []
        mine = self._join(key)
        work = self._work[key] = Deferred.fromCoroutine(start())
        work.addCallbacks(
            lambda value: self._land(key, value), lambda failure: self._crash(key, failure)
        )
        return mine

    async def stop(self) -> None:
        """Cancel all that is being worked on, and wait until it has ended.

        Whoever waits for it gets what it then comes to.
        """
        ended = [self._join(key) for key in self._work]
        for work in list(self._work.values()):
            work.cancel()
        await DeferredList(ended, consumeErrors=True)

    def _join(self, key: K) -> Deferred[V]:
        waiter: Deferred[V] = Deferred(lambda d: self._leave(key, d))
        self._waiting[key].append(waiter)
        return waiter

    def _leave(self, key: K, waiter: Deferred[V]) -> None:
        waiters = self._waiting.get(key, [])
        if waiter in waiters:
            waiters.remove(waiter)

    def _land(self, key: K, value: V) -> None:
        for waiter in self._end(key):
            if not waiter.called:
                waiter.callback(value)

    def _crash(self, key: K, failure: Failure) -> None:
        for waiter in self._end(key):
            if not waiter.called:
                waiter.errback(failure)

    def _end(self, key: K) -> list[Deferred[V]]:
        """Forget the work; some of the waiters may leave while others are told."""
        del self._work[key]
        return self._waiting.pop(key)
