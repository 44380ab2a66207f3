"""The order in which tasks are run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.task_queue import Order, TaskQueue
from oci_registry.streams.steps import pauses


class Queue(SynchronousTestCase):
    """TaskQueue."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[str] = []
        self.ended = 0

    def make(self, jobs: int = 1, last: int = 3) -> TaskQueue:
        return TaskQueue(jobs, pauses(self.clock), self.end, last)

    def end(self) -> None:
        self.ended += 1

    def task(self, name: str, *then: Callable[[], None]) -> Callable[[], Coroutine[Any, Any, None]]:
        async def work() -> None:
            self.done.append(name)
            for add in then:
                add()

        return work

    def go(self) -> None:
        for _ in range(500):
            self.clock.advance(0)

    def test_order(self) -> None:
        """Those of the first order come first, each order as it was added."""
        queue = self.make()
        queue.add(self.task("c"), Order.LAST)
        queue.add(self.task("a", lambda: queue.add(self.task("a2"))), Order.FIRST)
        queue.add(self.task("b"), Order.NEXT)
        queue.add(self.task("b2"), Order.NEXT)
        self.assertEqual(4, len(queue))
        queue.start()
        self.go()
        self.assertEqual((["a", "a2", "b", "b2", "c"], 1, 0), (self.done, self.ended, len(queue)))

    def test_many_last(self) -> None:
        """When many of the last order wait, they are run before more are added."""
        queue, waiting = self.make(last=5), list[int]()

        def add() -> None:
            waiting.append(len(queue))
            for _ in range(3):
                queue.add(self.task("blob"), Order.LAST)

        for _ in range(100):
            queue.add(self.task("image", add), Order.NEXT)
        queue.start()
        self.go()
        self.assertEqual((300, 1), (self.done.count("blob"), self.ended))
        self.assertLessEqual(max(count - (99 - number) for number, count in enumerate(waiting)), 5)

    def test_finally(self) -> None:
        """The last ones wait until all others have ended."""
        queue = self.make(jobs=4)
        gate: Deferred[None] = Deferred()

        async def wait() -> None:
            await gate
            self.done.append("waited")

        queue.add(wait)
        queue.add(self.task("a", lambda: queue.add(self.task("z"), Order.FINALLY)))
        queue.add(self.task("y"), Order.FINALLY)
        queue.start()
        self.go()
        self.assertEqual(["a"], self.done)
        gate.callback(None)
        self.go()
        self.assertEqual((["a", "waited", "y", "z"], 1), (self.done, self.ended))

    def test_cancel(self) -> None:
        """Cancelling ends what is running, and forgets what waits, once."""
        queue = self.make(jobs=2)
        cancelled: list[object] = []

        async def wait() -> None:
            await Deferred(cancelled.append)

        queue.add(wait)
        queue.add(wait)
        queue.add(self.task("a"))
        queue.start()
        self.go()
        queue.cancel()
        queue.cancel()
        self.go()
        self.assertEqual((2, [], 1, 0), (len(cancelled), self.done, self.ended, len(queue)))
