"""Failures in a row open a circuit breaker, and a probe decides when it closes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.breaker import BreakerLimits, CircuitBreaker, State

LIMITS = BreakerLimits(failures=3, first_pause=2.0, longest_pause=5.0, probes=2)


class BreakerTestCase(SynchronousTestCase):
    """A breaker that opens after three failures."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.breaker = CircuitBreaker(self.clock, LIMITS)

    def open(self) -> None:
        while not self.breaker.is_open:
            self.breaker.record_failure("on fire")


class Opening(BreakerTestCase):
    """When it opens."""

    def test_closed(self) -> None:
        """A new breaker is closed: calls pass."""
        self.assertEqual((State.CLOSED, None), (self.breaker.state, self.breaker.reason))
        self.assertEqual((0, 0, 0), (self.breaker.wait, self.breaker.pause, self.breaker.open_for))

    def test_in_a_row(self) -> None:
        """So many failures in a row open it; a success between begins the count again."""
        outcomes = [self.breaker.record_failure("first") for _ in range(2)]
        self.breaker.record_success()
        outcomes += [self.breaker.record_failure("last") for _ in range(3)]
        self.assertEqual([False] * 4 + [True], outcomes)
        self.assertEqual((State.OPEN, "last"), (self.breaker.state, self.breaker.reason))
        self.assertEqual(2.0, self.breaker.wait)

    def test_at_once(self) -> None:
        """A failure that says enough opens it alone."""
        self.assertTrue(self.breaker.record_failure("slow", at_once=True))

    def test_may_not_open(self) -> None:
        """Failures that prove nothing are counted, and open it when one comes that does."""
        for _ in range(3):
            self.assertFalse(self.breaker.record_failure("?", may_open=False))
        self.assertFalse(self.breaker.record_failure("?", at_once=True, may_open=False))
        self.assertTrue(self.breaker.record_failure("proof"))

    def test_late_failures(self) -> None:
        """Calls from before it opened do not keep it open for longer."""
        self.open()
        self.clock.advance(1)
        for probe in (None, object()):
            self.assertFalse(self.breaker.record_failure("late", probe=probe))
        self.assertEqual((1.0, "on fire"), (self.breaker.wait, self.breaker.reason))


class Probing(BreakerTestCase):
    """How it closes."""

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_one_after_the_pause(self) -> None:
        """After the pause a single probe may begin; meanwhile the breaker is half-open."""
        self.assertFalse(self.breaker.may_probe())
        self.clock.advance(2)
        self.assertEqual((0, True), (self.breaker.wait, self.breaker.may_probe()))
        self.breaker.begin_probe(1)
        self.assertEqual((State.HALF_OPEN, False), (self.breaker.state, self.breaker.may_probe()))
        self.assertGreater(self.breaker.wait, 0)

    def test_early(self) -> None:
        """Early probes do not wait for the pause, one for each source, up to the limit."""
        for probe, source in enumerate("ab"):
            self.assertTrue(self.breaker.may_probe(source, early=True))
            self.breaker.begin_probe(probe, source)
            self.assertFalse(self.breaker.may_probe(source, early=True))
        self.assertFalse(self.breaker.may_probe("c", early=True))

    def test_succeeds(self) -> None:
        """A success closes it, and ends all probes; the next pause is the first again."""
        self.breaker.begin_probe(1)
        self.breaker.record_failure("still", probe=1)
        self.breaker.begin_probe(2)
        self.breaker.record_success()
        self.assertEqual((State.CLOSED, False), (self.breaker.state, self.breaker.end_probe(2)))
        self.open()
        self.assertEqual(2.0, self.breaker.pause)

    def test_fails(self) -> None:
        """Each failed probe doubles the pause, up to the longest, and says why."""
        pauses = [self.breaker.pause]
        for number in range(3):
            self.clock.advance(self.breaker.pause)
            self.breaker.begin_probe(number)
            self.assertTrue(self.breaker.record_failure("still", probe=number))
            pauses.append(self.breaker.pause)
        self.assertEqual(([2.0, 4.0, 5.0, 5.0], "still"), (pauses, self.breaker.reason))
        self.assertEqual(11.0, self.breaker.open_for)

    def test_no_outcome(self) -> None:
        """A probe that ends without an outcome changes nothing: another may begin."""
        self.clock.advance(2)
        self.breaker.begin_probe(1)
        self.assertEqual([True, False], [self.breaker.end_probe(1) for _ in range(2)])
        self.assertEqual((State.OPEN, True), (self.breaker.state, self.breaker.may_probe()))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep it open for good."""
        self.clock.rightNow -= 1000
        self.assertEqual((0, True), (self.breaker.pause, self.breaker.may_probe()))

    def test_jitter(self) -> None:
        """Chance takes a share of each pause away."""
        limits = BreakerLimits(failures=1, first_pause=10.0, longest_pause=60.0, jitter=0.2)
        for chance, pause in ((0.0, 8.0), (0.5, 9.0), (1.0, 10.0)):
            breaker = CircuitBreaker(self.clock, limits, lambda chance=chance: chance)
            breaker.record_failure("on fire")
            self.assertAlmostEqual(pause, breaker.pause, places=3)
