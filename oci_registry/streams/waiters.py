"""Deferreds that wait for one event, and are fired together when it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Waiters(Generic[T]):
    """All waiters for the same event.

    A waiter may be cancelled: it leaves, and the others keep waiting. A waiter that is
    added while the others are fired waits for the next event.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """Return a Deferred of the next event."""
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def fire(self, value: T) -> None:
        """Fire all waiters with *value*."""
        self._end(lambda waiter: waiter.callback(value))

    def fail(self, error: Exception | Failure) -> None:
        """Fail all waiters with *error*."""
        self._end(lambda waiter: waiter.errback(error))

    def _end(self, answer: Callable[[Deferred[T]], None]) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # An earlier waiter may have cancelled it.
            if not waiter.called:
                answer(waiter)
