"""The rate limit of a scrub, in bytes per second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

LEAST = 256 * 1024
"""The minimum number of bytes that an object counts: a small one takes half a millisecond of CPU time."""
_SHORTEST = 0.01
"""The minimum length of a pause in seconds; shorter ones are added up."""
_CAUGHT_UP = 1.0
"""The maximum delay in seconds that is made up for."""
Sleep = Callable[[float], Awaitable[object]]
"""Returns an awaitable for a pause of so many seconds."""


class Pace:
    """Pauses so that *rate* bytes per second are not exceeded; 0 means no limit."""

    def __init__(self, rate: float, seconds: Callable[[], float], sleep: Sleep) -> None:
        self.rate = rate
        self._seconds = seconds
        self._sleep = sleep
        self._due = seconds()

    async def spend(self, size: int) -> None:
        """Count bytes, and pause if the rate requires it."""
        if self.rate <= 0:
            return
        now = self._seconds()
        # Delays of pauses are made up for, but not time in which nothing was read.
        self._due = max(self._due, now - _CAUGHT_UP) + size / self.rate
        if self._due - now >= _SHORTEST:
            await self._sleep(self._due - now)


def sleeping(clock: IReactorTime) -> Sleep:
    """Return a function that pauses on a reactor."""

    def sleep(seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred(lambda _: delayed.cancel())
        delayed = clock.callLater(seconds, pause.callback, None)
        return pause

    return sleep


def blocking(sleep: Callable[[float], None]) -> Sleep:
    """Return a function that pauses by blocking, for a command."""

    def pause(seconds: float) -> Deferred[None]:
        sleep(seconds)
        return succeed(None)

    return pause
