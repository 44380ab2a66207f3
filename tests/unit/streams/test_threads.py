"""Thread pools that are each for one kind of work."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread, current_thread
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.threads import ATTEMPTS, RETRY, Workers


class FakeReactor(Clock):
    """What threads hand back, kept until the test runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        """Keep a call."""
        self.handed.put(lambda: call(*args))

    def turn(self) -> None:
        """Make the next call, waiting for it."""
        self.handed.get(timeout=10)()


class WorkersTests(SynchronousTestCase):
    """A pool and its reactor."""

    def setUp(self) -> None:
        self.reactor: Any = FakeReactor()
        self.workers = Workers(self.reactor, "testers", 2)
        self.workers.start()
        self.addCleanup(self.workers.stop)

    def test_results(self) -> None:
        """A call is made in another thread, and its result or error handed back on the reactor."""
        name = self.workers(lambda: current_thread().name)
        error = self.workers(int, "x")
        self.reactor.turn()
        self.reactor.turn()
        self.assertIn("testers", self.successResultOf(name))
        self.failureResultOf(error, ValueError)

    def test_nothing_before_the_reactor(self) -> None:
        """A result is not handed back by the thread itself."""
        result = self.workers(pow, 2, 3)
        call = self.reactor.handed.get(timeout=10)
        self.assertNoResult(result)
        call()
        self.assertEqual(self.successResultOf(result), 8)

    def test_no_thread(self) -> None:
        """If no thread can be started, a call waits for one, and one warning says why."""
        full = RuntimeError("can't start new thread")
        with capturedLogs() as logged, patch.object(Thread, "start", side_effect=full):
            results = [self.workers(pow, 2, number) for number in range(2)]
            for _ in range(3):
                self.reactor.advance(RETRY)
        self.assertEqual(
            ["calls wait for one of 0 testers threads: can't start new thread"],
            [formatEvent(event) for event in logged],
        )
        self.assertEqual([], self.workers._pool.threads)
        self.reactor.advance(RETRY)
        for _ in results:
            self.reactor.turn()
        self.assertEqual([1, 2], [self.successResultOf(result) for result in results])
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_no_thread_for_long(self) -> None:
        """A call for which there is no thread fails in the end."""
        full = RuntimeError("can't start new thread")
        with patch.object(Thread, "start", side_effect=full):
            result = self.workers(pow, 2, 3)
            self.reactor.pump([RETRY] * (ATTEMPTS - 2))
            self.assertNoResult(result)
            self.reactor.advance(RETRY)
        self.assertIs(full, self.failureResultOf(result, RuntimeError).value)

    def test_no_thread_in_place_of_one_that_hangs(self) -> None:
        """If a thread that hangs cannot be replaced, its pool works on with the others."""
        gate = Event()
        self.addCleanup(gate.set)
        hanging = self.workers(gate.wait, 10)
        waiting = [self.workers(gate.wait, 10), self.workers(int, "7")]
        returned: Deferred[None] = Deferred()
        with patch.object(Thread, "start", side_effect=RuntimeError("can't start new thread")):
            self.workers.replace(returned)
        self.assertEqual(2, len(self.workers._pool.threads))
        gate.set()
        for _ in range(3):
            self.reactor.turn()
        self.assertEqual(7, self.successResultOf(waiting[1]))
        self.assertTrue(self.successResultOf(hanging) and self.successResultOf(waiting[0]))
        returned.callback(None)

    def test_replaced(self) -> None:
        """A thread that hangs is replaced, also for a call that waits already, until it returns."""
        gate, done = Event(), SimpleQueue[int]()
        self.addCleanup(gate.set)
        for _ in range(2):
            self.workers(gate.wait, 30)
        self.workers(done.put, 1)
        returned: Deferred[None] = Deferred()
        self.workers.replace(returned)
        self.assertEqual(1, done.get(timeout=10))
        self.workers(done.put, 2)
        self.assertEqual(2, done.get(timeout=10))
        returned.callback(None)
        self.assertEqual(2, self.workers._pool.max)

    def test_not_without_end(self) -> None:
        """No more than so many threads are replaced at the same time."""
        workers = Workers(self.reactor, "others", 2, replaced=3)
        workers.start()
        self.addCleanup(workers.stop)
        hanging: list[Deferred[None]] = [Deferred() for _ in range(5)]
        for one in hanging:
            workers.replace(one)
        self.assertEqual(5, workers._pool.max)
        for one in hanging:
            one.callback(None)
        self.assertEqual(2, workers._pool.max)

    def test_bounded(self) -> None:
        """No more calls are made at once than there are threads; the others wait in order."""
        gates, begun = [Event() for _ in range(4)], SimpleQueue[int]()
        for gate in gates:
            self.addCleanup(gate.set)

        def work(number: int) -> int:
            begun.put(number)
            gates[number].wait(10)
            return number

        results = [self.workers(work, n) for n in range(4)]
        self.assertEqual({begun.get(timeout=10), begun.get(timeout=10)}, {0, 1})
        self.assertTrue(begun.empty())
        for ends, begins in ((1, 2), (0, 3)):
            gates[ends].set()
            self.assertEqual(begins, begun.get(timeout=10))
            self.assertTrue(begun.empty())
        for gate in gates[2:]:
            gate.set()
        for _ in results:
            self.reactor.turn()
        self.assertEqual([self.successResultOf(r) for r in results], [0, 1, 2, 3])

    def test_pools_are_apart(self) -> None:
        """A pool that is busy keeps no other pool waiting."""
        gate = Event()
        busy = [self.workers(gate.wait, 10) for _ in range(5)]
        other = Workers(self.reactor, "others", 1)
        other.start()
        self.addCleanup(other.stop)
        self.addCleanup(gate.set)
        result = other(pow, 2, 3)
        self.reactor.turn()
        self.assertEqual(self.successResultOf(result), 8)
        for deferred in busy:
            self.assertNoResult(deferred)

    def test_stop(self) -> None:
        """Stopping waits for what was submitted."""
        workers = Workers(self.reactor, "leavers", 1)
        workers.start()
        done: list[int] = []
        for number in range(5):
            workers(done.append, number)
        workers.stop()
        self.assertEqual(done, [0, 1, 2, 3, 4])
        self.assertTrue(Workers(self.reactor, "idlers", 1).stop())

    def test_stop_without_what_hangs(self) -> None:
        """A thread that hangs is left behind, and said to be."""
        gate, begun = Event(), SimpleQueue[None]()
        self.addCleanup(gate.set)
        workers = Workers(self.reactor, "hangers", 2)
        workers.start()

        def hang() -> None:
            begun.put(None)
            gate.wait(30)

        workers(hang)
        begun.get(timeout=10)
        self.assertFalse(workers.stop(0.01))
