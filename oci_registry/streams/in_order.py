"""Runs work to its end, one piece after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


class InOrder:
    """Begins each piece of work when the one before has ended, even if that was cancelled: threads run on."""

    def __init__(self) -> None:
        self._last: Deferred[None] = succeed(None)

    def run(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Do *work* when everything before it has ended; cancelling it has no effect on it."""
        result: Deferred[T] = Deferred(lambda _: None)
        done: Deferred[None] = Deferred()
        before, self._last = self._last, done

        def begin(_: object) -> None:
            maybeDeferred(work).addBoth(ended)

        def ended(outcome: T | Failure) -> None:
            if not result.called:
                result.callback(outcome)
            done.callback(None)

        before.addBoth(begin)
        return result
