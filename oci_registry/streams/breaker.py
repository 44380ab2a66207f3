"""A circuit breaker that is probed in the background, never by what somebody waits for."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure


@frozen
class BreakerLimits:
    """When a breaker opens, and how often it is probed: *failures* in a row, pauses in seconds."""

    failures: int = 3
    first_pause: float = 1.0
    longest_pause: float = 30.0


class Breaker:
    """A circuit breaker: closed, calls may pass; open, none may until a probe has succeeded.

    *probe* is called while it is open, one at a time, after pauses that double. *opened* is given the
    reason, *closed* the seconds for which it was open.
    """

    def __init__(
        self,
        clock: IReactorTime,
        probe: Callable[[], Deferred[None]],
        opened: Callable[[str], None],
        closed: Callable[[float], None],
        limits: BreakerLimits,
    ) -> None:
        self.reason: str | None = None
        """Why it is open; None while it is closed."""
        self._clock = clock
        self._probe = probe
        self._opened = opened
        self._closed = closed
        self._limits = limits
        self._failures = 0
        self._since = 0.0
        self._pause = 0.0
        self._next: IDelayedCall | None = None

    def record_success(self) -> None:
        """A call has been answered. An open breaker is closed by its probe alone."""
        self._failures = 0

    def record_failure(self, reason: str) -> None:
        """A call has failed in a way that tells that the next will."""
        self._failures += 1
        if self.reason is None and self._failures >= self._limits.failures:
            self.reason = reason
            self._since = self._clock.seconds()
            self._pause = self._limits.first_pause
            self._opened(reason)
            self._wait()

    def _wait(self) -> None:
        self._next = self._clock.callLater(self._pause, self._try)

    def _try(self) -> None:
        self._next = None
        self._probe().addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, _: None) -> None:
        if self.reason is not None:
            self.reason, self._failures = None, 0
            self._closed(self._clock.seconds() - self._since)

    def _failed(self, failure: Failure) -> None:
        if self.reason is not None:
            self.reason = failure.getErrorMessage()
            self._pause = min(self._pause * 2, self._limits.longest_pause)
            self._wait()

    def stop(self) -> None:
        """Probe no more, and let calls pass."""
        self.reason = None
        if self._next is not None:
            self._next.cancel()
            self._next = None
