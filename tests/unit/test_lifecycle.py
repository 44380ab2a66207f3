"""Parts that start in order and stop in the opposite order."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.lifecycle import STOP_TIMEOUT, Lifecycle, Step


class LifecycleTests(SynchronousTestCase):
    """Steps, one after the other."""

    def setUp(self) -> None:
        """Nothing has happened."""
        self.clock = Clock()
        self.happened: list[str] = []
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def step(self, name: str) -> Step:
        """Return a step that notes what happens to it."""
        return Step(
            name,
            lambda: self.happened.append(f"start {name}"),
            lambda: self.happened.append(f"stop {name}"),
        )

    def run_with(self, middle: Step) -> Deferred[None]:
        """Start and stop three parts of which the second is *middle*; return the Deferred of the end."""
        lifecycle = Lifecycle([self.step("a"), middle, self.step("c")], self.clock)
        lifecycle.start()
        return Deferred.fromCoroutine(lifecycle.stop())

    def test_order(self) -> None:
        """What starts first stops last."""
        self.successResultOf(self.run_with(self.step("b")))
        started = [f"start {name}" for name in "abc"]
        self.assertEqual([*started, "stop c", "stop b", "stop a"], self.happened)

    def test_waiting(self) -> None:
        """A part that takes its time is waited for before the next is stopped."""
        ending: Deferred[None] = Deferred()
        stopped = self.run_with(Step("b", stop=lambda: ending))
        self.assertNotIn("stop a", self.happened)
        ending.callback(None)
        self.successResultOf(stopped)
        self.assertIn("stop a", self.happened)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_coroutine(self) -> None:
        """A coroutine is waited for as well."""
        ending: Deferred[None] = Deferred()

        async def stop() -> None:
            await ending
            self.happened.append("stop b")

        stopped = self.run_with(Step("b", stop=stop))
        self.assertNoResult(stopped)
        ending.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(["stop c", "stop b", "stop a"], self.happened[2:])

    def test_failures(self) -> None:
        """A part that fails to stop, at once or later, is logged, and the others stop."""

        def crash() -> None:
            raise ValueError("crashed")

        for stop in (crash, lambda: fail(ValueError("failed"))):
            self.happened.clear()
            self.successResultOf(self.run_with(Step("b", stop=stop)))
            self.assertEqual(["stop c", "stop a"], self.happened[2:])
            self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_timeout(self) -> None:
        """A part that does not end is given up after its time, and cancelled."""
        cancelled: list[object] = []
        stopped = self.run_with(Step("b", stop=lambda: Deferred(cancelled.append)))
        self.clock.advance(STOP_TIMEOUT - 1)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertTrue(cancelled)
        self.assertEqual("stop a", self.happened[-1])
        self.assertEqual("b", self.events[-1]["name"])

    def test_its_own_time(self) -> None:
        """A step may allow more time."""
        stopped = self.run_with(Step("b", stop=Deferred, stop_timeout=100.0))
        self.clock.advance(99)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)

    def test_a_start_that_fails(self) -> None:
        """An error at the start ends it, and reaches the caller."""

        def crash() -> None:
            raise ValueError("crashed")

        lifecycle = Lifecycle([Step("a", crash), self.step("b")], self.clock)
        self.assertRaises(ValueError, lifecycle.start)
        self.assertEqual([], self.happened)
