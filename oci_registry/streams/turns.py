"""A few calls at a time for each key: one key whose calls hang leaves the threads to the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from oci_registry.streams.tally import Tally

T = TypeVar("T")


class Turns:
    """Lets at most so many calls run for each key; further ones wait, in their order."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Tally[str] = Tally()
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        self._advancing: set[str] = set()

    def run(self, key: str, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Return the result of *begin*, which is called at once or later. It must not be cancelled."""
        if self._running[key] < self._most:
            self._running[key] += 1
            return maybeDeferred(begin).addBoth(self._ended, key)
        turn: Deferred[Any] = Deferred()
        self._waiting.setdefault(key, deque()).append(turn)
        return turn.addCallback(lambda _: begin()).addBoth(self._ended, key)

    def _ended(self, result: Any, key: str) -> Any:
        self._running.end(key)
        # A call that is over at once would begin the next one from within.
        if key not in self._advancing:
            self._advancing.add(key)
            self._advance(key)
            self._advancing.discard(key)
        return result

    def _advance(self, key: str) -> None:
        waiting = self._waiting.get(key)
        while waiting and self._running[key] < self._most:
            self._running[key] += 1
            waiting.popleft().callback(None)
        if not waiting:
            self._waiting.pop(key, None)
