"""Answers that are cached for a moment, so that each question is asked once for all viewers of the page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from oci_registry.admin.problems import Unavailable
from oci_registry.streams.flight import SingleFlight

T = TypeVar("T")


@frozen
class Deadlines:
    """Seconds after which a page omits an answer (*shown*), and a question is cancelled (*work*)."""

    shown: float = 1.5
    work: float = 60.0


DEADLINES = Deadlines()


@frozen
class Found(Generic[T]):
    """An answer, and when it was found (seconds since the epoch)."""

    answer: T
    time: float


class Kept(Generic[T]):
    """The latest answer to one question, which is asked again after *fresh* seconds.

    A question that takes longer than a page may take continues, and the next page has its answer.
    """

    def __init__(
        self,
        ask: Callable[[], Coroutine[Any, Any, T]],
        clock: IReactorTime,
        fresh: float,
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._fresh = fresh
        self._deadlines = deadlines
        self._flight: SingleFlight[None, Found[T]] = SingleFlight()
        self._found: Found[T] | None = None

    async def get(self) -> Found[T]:
        """Return the answer, or an older one if it takes too long; raises the error of the question."""
        found = self._found
        if found is not None and 0 <= self._clock.seconds() - found.time < self._fresh:
            return found
        waiting = self._flight.run(None, self._work)
        try:
            return await in_time(waiting, self._deadlines.shown, self._clock)
        except Unavailable:
            if self._found is None:
                raise
            return self._found

    async def _work(self) -> Found[T]:
        work = Deferred.fromCoroutine(self._ask())
        try:
            answer = await in_time(work, self._deadlines.work, self._clock)
        except Exception:
            self._found = None
            raise
        self._found = Found(answer, self._clock.seconds())
        return self._found


async def in_time(work: Deferred[T], seconds: float, clock: IReactorTime) -> T:
    """Return the result of *work*; cancel it after so many seconds and raise `Unavailable`."""
    try:
        return await work.addTimeout(seconds, clock)
    except DeferredTimeout:
        raise Unavailable(f"there was no answer within {seconds:g} s") from None
