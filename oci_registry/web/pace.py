"""Work that arrives all at once, spread over several iterations of the reactor."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

AT_ONCE = 64
"""The maximum number of pieces of work in one iteration."""


class Pace:
    """Limits how many requests continue in one iteration of the reactor, so that others are served.

    A thousand requests that arrive or fail at the same time would block it for a second.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._running = 0
        self._scheduled = False
        self._waiting: deque[Deferred[None]] = deque()

    def turn(self) -> Deferred[None]:
        """Return a Deferred that fires now, or in a later iteration if this one is full; in order.

        It may be cancelled.
        """
        if self._running < AT_ONCE:
            self._count()
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _count(self) -> None:
        self._running += 1
        # Several iterations with little work share one count, which saves a delayed call.
        if self._running > AT_ONCE // 2 and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled = False
        self._running = 0
        while self._waiting and self._running < AT_ONCE:
            waiting = self._waiting.popleft()
            if not waiting.called:
                self._count()
                waiting.callback(None)
