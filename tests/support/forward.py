"""A clock that can be put forward, under real sockets."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import directlyProvides, providedBy

T = TypeVar("T")


class ForwardReactor:
    """The real reactor, except that `forward` makes time pass at once.

    Whoever was given it sees one clock: `seconds` jumps, and what was due by then happens in the
    reactor's next round, in its order. Sockets and threads are the real ones.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ahead = 0.0
        self._calls: list[Any] = []
        self._crowd = 64
        directlyProvides(self, providedBy(reactor))

    def seconds(self) -> float:
        """Return the time that it is here."""
        now: float = self._reactor.seconds()
        return now + self._ahead

    def callLater(self, delay: float, act: Any, *args: Any, **kwargs: Any) -> Any:
        """Schedule a call that can be put forward."""
        call = self._reactor.callLater(delay, act, *args, **kwargs)
        if len(self._calls) >= self._crowd:
            self._calls = [old for old in self._calls if old.active()]
            self._crowd = 64 + 2 * len(self._calls)
        self._calls.append(call)
        return call

    def forward(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._ahead += seconds
        self._calls = [call for call in self._calls if call.active()]
        for call in self._calls:
            # Below zero is right: so they keep their order.
            call.reset(call.getTime() - self._reactor.seconds() - seconds)

    async def hurry(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work while time passes about fifty times as fast."""
        done = Deferred.fromCoroutine(work)
        while not done.called:
            await deferLater(self._reactor, 0.002)
            self.forward(0.1)
        return await done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
