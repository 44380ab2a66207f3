"""A circuit breaker: after several failures in a row, calls stop until a probe has succeeded."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

Random = Callable[[], float]
"""Returns a number from 0 up to 1, for jitter."""

_MOST_DOUBLINGS = 100
_DURING_PROBE = 1.0
"""Seconds after which a half-open breaker may have closed."""


def doubled(first: float, longest: float, times: int) -> float:
    """Return a pause in seconds that has been doubled so many times, *longest* at most."""
    return min(first * 2.0 ** min(times, _MOST_DOUBLINGS), longest)


@frozen
class BreakerLimits:
    """When a circuit breaker opens, for how long, and how it is probed.

    *failures* in a row open it. The first pause in seconds is doubled by each failed probe, up to the
    longest. *jitter*: the largest share of a pause that is subtracted at random. *probes* at once, at most.
    """

    failures: int
    first_pause: float
    longest_pause: float
    jitter: float = 0.0
    probes: int = 1


class State(Enum):
    """Whether calls pass: all, none, or only a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Counts failures in a row, and says when calls and probes may pass.

    It makes no calls itself: the caller records their outcomes, and decides what a probe is.
    """

    def __init__(
        self, clock: IReactorTime, limits: BreakerLimits, random: Random = lambda: 1.0
    ) -> None:
        self.failures = 0
        self.reason: str | None = None
        """Why it is open; None while it is closed."""
        self._clock = clock
        self._limits = limits
        self._random = random
        self._pauses = 0
        self._opened_at = 0.0
        self._open_until = 0.0
        self._probes: dict[object, str] = {}

    @property
    def state(self) -> State:
        """Whether it is closed, open, or half-open: a probe is under way."""
        if self.reason is None:
            return State.CLOSED
        return State.HALF_OPEN if self._probes else State.OPEN

    @property
    def is_open(self) -> bool:
        """Whether calls are refused because of failures, whether or not a probe is under way."""
        return self.reason is not None

    @property
    def pause(self) -> float:
        """The seconds that are left of the pause before the next probe."""
        if self.reason is None:
            return 0.0
        left = self._open_until - self._clock.seconds()
        # The clock has been set back if more is left than any pause lasts.
        return left if 0 < left <= self._limits.longest_pause else 0.0

    @property
    def wait(self) -> float:
        """The seconds after which a call may pass; 0 if it may pass now, possibly as a probe."""
        return self.pause or (_DURING_PROBE if self.state is State.HALF_OPEN else 0.0)

    @property
    def open_for(self) -> float:
        """The seconds for which it has been open; 0 while it is closed."""
        return self._clock.seconds() - self._opened_at if self.is_open else 0.0

    def record_success(self) -> None:
        """A call has succeeded: close."""
        self.failures = self._pauses = 0
        self.reason = None
        self._probes.clear()

    def record_failure(
        self, reason: str, *, probe: object = None, at_once: bool = False, may_open: bool = True
    ) -> bool:
        """A call has failed; return whether that opens the breaker, or keeps it open for longer.

        Closed, it opens after so many failures in a row, or *at_once*, unless *may_open* is false. Open,
        only the failure of a *probe* counts: other calls began before it opened.
        """
        if self.is_open:
            counts = self.end_probe(probe)
        else:
            self.failures += 1
            counts = may_open and (at_once or self.failures >= self._limits.failures)
        if counts:
            now = self._clock.seconds()
            if not self.is_open:
                self._opened_at = now
            jitter = self._limits.jitter * (1.0 - self._random())
            pause = doubled(self._limits.first_pause, self._limits.longest_pause, self._pauses)
            self._open_until = now + pause * (1.0 - jitter)
            self._pauses += 1
            self.reason = reason
        return counts

    def may_probe(self, source: str = "", *, early: bool = False) -> bool:
        """Whether a probe may begin: after the pause, if there is none.

        *early*: also before the end of the pause, and in parallel with probes of other sources.
        """
        if early:
            return len(self._probes) < self._limits.probes and source not in self._probes.values()
        return not self._probes and not self.pause

    def begin_probe(self, probe: object, source: str = "") -> None:
        """A probe begins: its outcome decides, unless it ends without one (`end_probe`)."""
        self._probes[probe] = source

    def end_probe(self, probe: object) -> bool:
        """A probe has ended; return whether its outcome still matters."""
        return self._probes.pop(probe, None) is not None
