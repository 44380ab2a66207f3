"""Coroutines that are run one after the other, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from oci_registry.streams.steps import Pause
from oci_registry.streams.waiters import Waiters


class TaskQueue:
    """Runs tasks in order, *jobs* at a time; a task may add others, and raises nothing.

    *pause*: between two tasks of a job. *ended* is called once: when no task is left, or all are cancelled.
    """

    def __init__(self, jobs: int, pause: Pause, ended: Callable[[], None]) -> None:
        self._jobs = jobs
        self._pause = pause
        self._ended = ended
        self._tasks: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._idle = 0
        self._more: Waiters[None] = Waiters()
        self._working: list[Deferred[None]] = []
        self._over = False

    def add(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *task* after those that were added before."""
        self._tasks.append(task)
        self._more.fire(None)

    def start(self) -> None:
        """Begin with what was added."""
        self._working = [Deferred.fromCoroutine(self._work()) for _ in range(self._jobs)]

    def cancel(self) -> None:
        """Cancel the tasks that are running, and run no other. Idempotent."""
        if self._over:
            return
        self._tasks.clear()
        self._over = True
        for working in self._working:
            working.cancel()
        self._ended()

    async def _work(self) -> None:
        with suppress(CancelledError):
            while not self._over:
                await self._pause()
                if self._tasks:
                    await self._tasks.popleft()()
                    continue
                self._idle += 1
                if self._idle == self._jobs:
                    self._over = True
                    self._more.fire(None)
                    self._ended()
                    return
                await self._more.wait()
                self._idle -= 1
