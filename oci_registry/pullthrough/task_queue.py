"""Coroutines that are run in order, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from oci_registry.streams.steps import Pause
from oci_registry.streams.waiters import Waiters

Task = Callable[[], Coroutine[Any, Any, None]]


class Order(IntEnum):
    """Which tasks are run first."""

    FIRST = 0
    NEXT = 1
    LAST = 2
    FINALLY = 3
    """When all others have ended."""


class TaskQueue:
    """Runs tasks in order, *jobs* at a time; a task may add others, and raises nothing.

    *pause*: between two tasks of a job. *ended* is called once: when no task is left, or all are cancelled.
    *last*: the number of waiting tasks of the order `LAST` from which on they are run at once, so that
    their number stays bounded.
    """

    def __init__(
        self, jobs: int, pause: Pause, ended: Callable[[], None], last: int = 2000
    ) -> None:
        self._jobs = jobs
        self._pause = pause
        self._ended = ended
        self._last = last
        self._tasks: dict[Order, deque[Task]] = {order: deque() for order in Order}
        self._idle = 0
        self._more: Waiters[None] = Waiters()
        self._working: list[Deferred[None]] = []
        self._over = False

    def __len__(self) -> int:
        """Return how many tasks wait."""
        return sum(map(len, self._tasks.values()))

    def add(self, task: Task, order: Order = Order.FIRST) -> None:
        """Run *task* after those of its order that were added before."""
        self._tasks[order].append(task)
        self._more.fire(None)

    def start(self) -> None:
        """Begin with what was added."""
        self._working = [Deferred.fromCoroutine(self._work()) for _ in range(self._jobs)]

    def cancel(self) -> None:
        """Cancel the tasks that are running, and run no other. Idempotent."""
        if self._over:
            return
        for waiting in self._tasks.values():
            waiting.clear()
        self._over = True
        for working in self._working:
            working.cancel()
        self._ended()

    async def _work(self) -> None:
        with suppress(CancelledError):
            while not self._over:
                await self._pause()
                task = self._next()
                if task is not None:
                    await task()
                    continue
                self._idle += 1
                if self._idle == self._jobs:
                    self._over = True
                    self._more.fire(None)
                    self._ended()
                    return
                await self._more.wait()
                self._idle -= 1

    def _next(self) -> Task | None:
        if len(self._tasks[Order.LAST]) >= self._last:
            return self._tasks[Order.LAST].popleft()
        orders: Sequence[Order] = (Order.FIRST, Order.NEXT, Order.LAST)
        if self._idle == self._jobs - 1:
            # The other jobs have nothing to do, and so no task is running.
            orders = tuple(Order)
        return next((self._tasks[o].popleft() for o in orders if self._tasks[o]), None)
