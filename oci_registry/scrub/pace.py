"""The pace of a scrub: so many bytes per second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

LEAST = 256 * 1024
"""Bytes that each object counts at least: small ones cost time of the processor, half a millisecond each."""
_SHORTEST = 0.01
"""Seconds of a pause; shorter ones are added up."""
_CAUGHT_UP = 1.0
"""Seconds that are made up for at most."""
Sleep = Callable[[float], Awaitable[object]]
"""Returns an awaitable for a pause of so many seconds."""


class Pace:
    """Pauses so that *rate* bytes per second are not exceeded; 0: there are no pauses."""

    def __init__(self, rate: float, seconds: Callable[[], float], sleep: Sleep) -> None:
        self.rate = rate
        self._seconds = seconds
        self._sleep = sleep
        self._due = seconds()

    async def spend(self, size: int) -> None:
        """Pause after so many bytes, if it is time."""
        if self.rate <= 0:
            return
        now = self._seconds()
        # Pauses that took too long are made up for, but not the time in which nothing was read.
        self._due = max(self._due, now - _CAUGHT_UP) + size / self.rate
        if self._due - now >= _SHORTEST:
            await self._sleep(self._due - now)


def sleeping(clock: IReactorTime) -> Sleep:
    """Return pauses on a reactor."""

    def sleep(seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred(lambda _: delayed.cancel())
        delayed = clock.callLater(seconds, pause.callback, None)
        return pause

    return sleep


def blocking(sleep: Callable[[float], None]) -> Sleep:
    """Return pauses that block, for a command."""

    def pause(seconds: float) -> Deferred[None]:
        sleep(seconds)
        return succeed(None)

    return pause
