"""A circuit breaker that is probed in the background, never by a client's request."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from oci_registry.streams.breaker import BreakerLimits, CircuitBreaker


class ProbedBreaker:
    """A circuit breaker with a *probe*, which is called after each pause while it is open.

    *opened* is given the reason, *closed* the seconds for which it was open.
    """

    def __init__(
        self,
        clock: IReactorTime,
        probe: Callable[[], Deferred[None]],
        opened: Callable[[str], None],
        closed: Callable[[float], None],
        limits: BreakerLimits,
    ) -> None:
        self._breaker = CircuitBreaker(clock, limits)
        self._clock = clock
        self._probe = probe
        self._opened = opened
        self._closed = closed
        self._next: IDelayedCall | None = None
        self._keys: set[str] = set()

    @property
    def reason(self) -> str | None:
        """Why it is open; None while it is closed."""
        return self._breaker.reason

    def record_success(self) -> None:
        """A call has been answered. An open breaker is closed by its probe alone."""
        if not self._breaker.is_open:
            self._breaker.record_success()
            self._keys.clear()

    def record_failure(self, reason: str, key: str = "") -> None:
        """A call has failed in a way that lets the next one fail too.

        *key*: what it was about, if about one object. Failures about one object alone do not open it.
        """
        if key and len(self._keys) < 2:
            self._keys.add(key)
        if self._breaker.record_failure(reason, may_open=not key or len(self._keys) > 1):
            self._opened(reason)
            self._wait()

    def _wait(self) -> None:
        self._next = self._clock.callLater(self._breaker.pause, self._try)

    def _try(self) -> None:
        self._next = None
        self._breaker.begin_probe(self)
        self._probe().addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, _: None) -> None:
        seconds = self._breaker.open_for
        if self._breaker.end_probe(self):
            self._breaker.record_success()
            self._keys.clear()
            self._closed(seconds)

    def _failed(self, failure: Failure) -> None:
        if self._breaker.is_open:
            self._breaker.record_failure(failure.getErrorMessage(), probe=self)
            self._wait()

    def stop(self) -> None:
        """Probe no more, and let calls pass."""
        self._breaker.record_success()
        if self._next is not None:
            self._next.cancel()
            self._next = None
