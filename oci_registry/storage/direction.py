"""Deadlines for the calls of a store, and one circuit breaker for each direction: reads or writes."""

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
Lost = Callable[[Deferred[None]], object]
"""Called when a thread hangs; it hangs until the Deferred fires."""


def keep(result: object) -> None:
    """Nothing has to be cleaned up."""


class Call(Generic[T]):
    """One call of the store, with a deadline; a result that arrives later is cleaned up.

    The call itself is not cancelled, since its thread cannot be. *ended* is called with its error or None.
    *key*: the object that it is about, if it is about one.
    """

    def __init__(self, ended: Callable[[Call[T], Exception | None], None], key: str = "") -> None:
        self.key = key
        self.answer: Deferred[T] = Deferred(self._leave)
        self.over = False
        self.waited = False
        self._ended = ended
        self._left = False
        self._timer: IDelayedCall | None = None
        self._clean: Callable[[T], object] = keep

    def _leave(self, _: Deferred[T]) -> None:
        self._left = True

    def begin(
        self,
        work: Deferred[T],
        clock: IReactorTime,
        seconds: float,
        missed: Callable[[float], StoreUnavailable],
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        """Wait for *work*; after *seconds* fail with the error that *missed* makes of them."""
        self._clean = clean
        work.addCallbacks(self._arrived, self._failed)
        if not self.over:
            self.waited = True
            self._timer = clock.callLater(seconds, self._expired, missed, seconds)
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

    def _expired(self, missed: Callable[[float], StoreUnavailable], seconds: float) -> None:
        error = missed(seconds)
        self._timer = None
        self._end(error)
        if not self._left:
            self._left = True
            self.answer.errback(error)

    def _end(self, error: Exception | None) -> None:
        self.forget()
        if not self.over or error is None:
            # A late result still shows that the medium responds: it is busy, and calls wait for each
            # other.
            self.over = True
            self._ended(self, error)

    def forget(self) -> None:
        """Cancel the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Direction:
    """All reads, or all writes: their circuit breaker and the running calls.

    *probe* has *probe_timeout* seconds. *lost* is called for each thread in which a probe hangs.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        place: str,
        clock: IReactorTime,
        probe: Callable[[], Deferred[None]],
        limits: BreakerLimits,
        probe_timeout: float,
        lost: Lost,
    ) -> None:
        self.hanging = 0
        """The number of appends that hang."""
        self._probe = probe
        self._probe_timeout = probe_timeout
        self._lost = lost
        self._name = name
        self._place = place
        self._clock = clock
        self._calls: set[Call[Any]] = set()
        self._idle: Waiters[None] = Waiters()
        self.breaker = ProbedBreaker(clock, self._probe_in_time, self._opened, self._closed, limits)

    @property
    def refusal(self) -> StoreUnavailable | None:
        """Return the reason why calls are refused while the breaker is open; None while it is closed."""
        reason = self.breaker.reason
        return None if reason is None else StoreUnavailable(f"{reason} (circuit breaker open)")

    @property
    def _who(self) -> str:
        return f"the store at {self._place}"

    def ask(
        self,
        seconds: float,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object] = keep,
        *,
        local: bool = False,
        key: str = "",
    ) -> Deferred[T]:
        """Make a call, unless the breaker is open; *clean* cleans up a late result.

        *local*: a success of the call does not show that the medium works. *key*: the object that it is
        about; one object that fails alone does not open the breaker.
        """
        refusal = self.refusal
        if refusal is not None:
            return fail(refusal)
        judge = self._judge_local if local else self._judge
        return self._begin(Call(judge, key), seconds, begin, clean)

    def ask_always(self, seconds: float, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Make a call that the breaker neither prevents nor counts."""
        return self._begin(Call(self._pass), seconds, begin, keep)

    def _begin(
        self,
        call: Call[T],
        seconds: float,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        self._calls.add(call)
        try:
            work = begin()
        except BaseException:
            self._calls.discard(call)
            raise
        return call.begin(work, self._clock, seconds, self._missed, clean)

    def _missed(self, seconds: float) -> StoreUnavailable:
        return StoreUnavailable(f"{self._who} did not answer within {seconds:g} s ({self._name})")

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreUnavailable:
        """Count an append that has not returned for so many seconds; return the error to report."""
        error = StoreUnavailable(f"{self._who} did not append within {seconds:g} s ({self._name})")
        self.hanging += 1
        self.breaker.record_failure(str(error))
        returned.addCallback(self._append_returned)
        return error

    def _append_returned(self, _: None) -> None:
        self.hanging -= 1

    def _probe_in_time(self) -> Deferred[None]:
        returned: Deferred[None] = Deferred()

        def probe() -> Deferred[None]:
            return self._probe().addBoth(ended)

        def ended(result: T) -> T:
            returned.callback(None)
            return result

        def failed(failure: Failure) -> Failure:
            if not returned.called:
                self._lost(returned)
            return failure

        return self.ask_always(self._probe_timeout, probe).addErrback(failed)

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
        # A plain StoreError, such as a full disk, is a prompt response, so it counts as a success. A
        # result without waiting came from memory and shows nothing.
        if answered and call.waited:
            self.breaker.record_success()

    def _judge_local(self, call: Call[T], error: Exception | None) -> None:
        self._forget(call)
        if isinstance(error, StoreUnavailable):
            self.breaker.record_failure(str(error), call.key)

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
