"""Calls of a store that are answered in time, and one circuit breaker for all of one direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import StoreError, StoreUnavailable
from oci_registry.streams.breaker import BreakerLimits
from oci_registry.streams.probing import ProbedBreaker
from oci_registry.streams.waiters import Waiters

T = TypeVar("T")


def _keep(result: object) -> None:
    """Nothing has to be cleaned up."""


class Call(Generic[T]):
    """One call of the store, with a deadline; a result that comes later is cleaned up.

    The call itself is not cancelled, since its thread cannot be. *ended* is called with its error or None.
    """

    def __init__(self, ended: Callable[[Call[T], Exception | None], None]) -> None:
        self.answer: Deferred[T] = Deferred(self._leave)
        self.over = False
        self.waited = False
        self._ended = ended
        self._left = False
        self._timer: IDelayedCall | None = None
        self._clean: Callable[[T], object] = _keep

    def _leave(self, _: Deferred[T]) -> None:
        self._left = True

    def begin(
        self,
        work: Deferred[T],
        clock: IReactorTime,
        seconds: float | None,
        missed: str,
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        """Wait for *work*; after *seconds* fail with what *missed* says."""
        self._clean = clean
        work.addCallbacks(self._arrived, self._failed)
        if not self.over:
            self.waited = True
            if seconds is not None:
                self._timer = clock.callLater(seconds, self._expired, StoreUnavailable(missed))
        return self.answer

    def _arrived(self, result: T) -> None:
        if self._left:
            cleaning = maybeDeferred(self._clean, result)
            cleaning.addErrback(lambda _: None).addCallback(lambda _: self._end(None))
        else:
            self._end(None)
            self.answer.callback(result)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        self._end(error if isinstance(error, Exception) else None)
        if not self._left:
            self.answer.errback(failure)

    def _expired(self, error: StoreUnavailable) -> None:
        self._timer = None
        self._end(error)
        if not self._left:
            self._left = True
            self.answer.errback(error)

    def _end(self, error: Exception | None) -> None:
        self.forget()
        if not self.over or error is None:
            # An answer that comes too late still shows that the medium answers: it is busy, and the
            # calls wait for each other.
            self.over = True
            self._ended(self, error)

    def forget(self) -> None:
        """Cancel the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Direction:
    """All reads, or all writes: their circuit breaker and the running calls."""

    _log = Logger()

    def __init__(
        self,
        name: str,
        place: str,
        clock: IReactorTime,
        probe: Callable[[], Deferred[None]],
        limits: BreakerLimits,
    ) -> None:
        self._name = name
        self._place = place
        self._clock = clock
        self._calls: set[Call[Any]] = set()
        self._idle: Waiters[None] = Waiters()
        self.breaker = ProbedBreaker(clock, probe, self._opened, self._closed, limits)

    def ask(
        self,
        seconds: float | None,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object] = _keep,
        *,
        local: bool = False,
    ) -> Deferred[T]:
        """Make a call, unless the breaker is open; *clean* cleans up a result that comes too late.

        *local*: a success of the call does not show that the medium works.
        """
        reason = self.breaker.reason
        if reason is not None:
            return fail(StoreUnavailable(f"{reason} (circuit breaker open)"))
        return self._begin(Call(self._judge_local if local else self._judge), seconds, begin, clean)

    def ask_always(self, seconds: float, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Make a call that the breaker neither prevents nor counts."""
        return self._begin(Call(self._pass), seconds, begin, _keep)

    def _begin(
        self,
        call: Call[T],
        seconds: float | None,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        missed = (
            f"the store at {self._place} did not answer within {seconds or 0:g} s ({self._name})"
        )
        self._calls.add(call)
        try:
            work = begin()
        except BaseException:
            self._calls.discard(call)
            raise
        return call.begin(work, self._clock, seconds, missed, clean)

    def _pass(self, call: Call[T], error: Exception | None) -> None:
        self._forget(call)

    def _forget(self, call: Call[T]) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._idle.fire(None)

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when no call is running or being cleaned up."""
        return self._idle.wait() if self._calls else succeed(None)

    def _judge(self, call: Call[T], error: Exception | None) -> None:
        self._judge_local(call, error)
        answered = error is None or type(error) is StoreError
        # A plain StoreError, such as a full disk, comes at once, so it counts as a success. A result
        # that needed no waiting came from memory and shows nothing.
        if answered and call.waited:
            self.breaker.record_success()

    def _judge_local(self, call: Call[T], error: Exception | None) -> None:
        self._forget(call)
        if isinstance(error, StoreUnavailable):
            self.breaker.record_failure(str(error))

    def _opened(self, reason: str) -> None:
        self._log.warn(
            "{reason}: circuit breaker open for {name}s, the store is probed in the background",
            reason=reason,
            name=self._name,
        )

    def _closed(self, seconds: float) -> None:
        self._log.info(
            "the store at {place} answers {name}s again: circuit breaker closed after {seconds:.0f} s",
            place=self._place,
            name=self._name,
            seconds=seconds,
        )

    def stop(self) -> None:
        """Cancel all timers."""
        self.breaker.stop()
        for call in self._calls:
            call.forget()
