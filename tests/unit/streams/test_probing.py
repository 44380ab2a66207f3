"""A breaker that is probed in the background closes without anybody's call."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.breaker import BreakerLimits
from oci_registry.streams.probing import ProbedBreaker


class ProbedBreakerTests(SynchronousTestCase):
    """A breaker that opens after two failures, with probes whose outcome the test decides."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.probes: list[Deferred[None]] = []
        self.said: list[Any] = []
        limits = BreakerLimits(failures=2, first_pause=1.0, longest_pause=30.0)
        self.breaker = ProbedBreaker(
            self.clock, self.probe, self.said.append, self.said.append, limits
        )

    def probe(self) -> Deferred[None]:
        self.probes.append(Deferred())
        return self.probes[-1]

    def open(self) -> None:
        for _ in range(2):
            self.breaker.record_failure("down")

    def test_opens_and_closes(self) -> None:
        """Open, it is probed until a probe succeeds; the reason and the time are reported once."""
        self.open()
        self.clock.advance(1)
        self.probes[0].errback(ValueError("still down"))
        self.assertEqual("still down", self.breaker.reason)
        self.clock.advance(2)
        self.probes[1].callback(None)
        self.assertIsNone(self.breaker.reason)
        self.assertEqual(["down", 3.0], self.said)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_late_success(self) -> None:
        """A call that began before it opened does not close it, but a success before begins the count."""
        self.breaker.record_failure("down")
        self.breaker.record_success()
        self.breaker.record_failure("down")
        self.assertIsNone(self.breaker.reason)
        self.open()
        self.breaker.record_success()
        self.assertEqual("down", self.breaker.reason)

    def test_one_at_a_time(self) -> None:
        """While a probe hangs there is no other."""
        self.open()
        self.clock.pump([1.0] * 100)
        self.assertEqual(1, len(self.probes))

    def test_stop(self) -> None:
        """After the stop calls pass, and neither a timer nor a late probe changes anything."""
        self.open()
        self.breaker.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        for outcome in (None, ValueError("late")):
            self.open()
            self.clock.advance(1)
            self.breaker.stop()
            late = self.probes.pop()
            late.callback(None) if outcome is None else late.errback(outcome)
            self.assertIsNone(self.breaker.reason)
            self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(["down"] * 3, self.said)
