"""Much that comes all at once, dealt with in several turns of the reactor."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

AT_ONCE = 64
"""The most that goes on in one turn."""


class Pace:
    """Let the reactor serve everybody else between pieces of work that all want to go on now.

    A thousand requests that arrive or fail at one instant would keep it busy for a second.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._gone_on = 0
        self._scheduled = False
        self._waiting: deque[Deferred[None]] = deque()

    def turn(self) -> Deferred[None]:
        """Return what fires at once, or in a later turn if too many go on in this one; in order.

        It may be cancelled.
        """
        if self._gone_on < AT_ONCE:
            self._count()
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _count(self) -> None:
        self._gone_on += 1
        # Turns in which little happens are not worth a call, so they are counted together.
        if self._gone_on > AT_ONCE // 2 and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._scheduled = False
        self._gone_on = 0
        while self._waiting and self._gone_on < AT_ONCE:
            waiting = self._waiting.popleft()
            if not waiting.called:
                self._count()
                waiting.callback(None)
