"""A host that fails is left alone for a while, and found again when it is back."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import BadGateway, RegistryError, TooManyRequests, Unavailable
from oci_registry.upstream.health import (
    FAILURES,
    LONGEST,
    LONGEST_HOLD,
    SHORTEST,
    HostHealth,
    Probe,
)
from oci_registry.upstream.slots import Turn

HOST = "a.example"
ERROR = BadGateway("it is on fire")


class HealthTestCase(SynchronousTestCase):
    """The breaker of one host; chance always brings the longest pause."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.metrics = Metrics(["example.com"])
        watch = self.metrics.host("example.com", HOST)
        self.health = HostHealth(HOST, self.clock, lambda: 1.0, watch)

    def gauge(self, name: str) -> float | None:
        labels = {"namespace": "example.com", "host": HOST}
        return self.metrics.registry.get_sample_value(f"oci_registry_upstream_{name}", labels)

    def refused(self, kind: type[RegistryError] = Unavailable) -> RegistryError:
        """Return the error that keeps a request from the host."""
        error = self.health.refusal(Turn.MANIFEST)
        assert error is not None
        self.assertRaises(kind, self.health.admit, Turn.MANIFEST)
        self.assertIs(kind, type(error))
        return error

    def let_through(self) -> None:
        """Let a request through of which nothing depends."""
        self.assertIsNone(self.health.admit(Turn.MANIFEST))

    def finds_out(self) -> Probe:
        """Let through the one that finds out."""
        probe = self.health.admit(Turn.MANIFEST)
        assert probe is not None
        return probe


class Breaker(HealthTestCase):
    """Closed, open, half open."""

    def test_closed(self) -> None:
        """A host is asked by everybody as long as it answers now and then."""
        for _ in range(3):
            for _ in range(FAILURES - 1):
                self.let_through()
                self.health.failed(Turn.MANIFEST, ERROR, slow=False)
            self.let_through()
            self.health.worked(Turn.MANIFEST)
        self.assertEqual((0, 1), (self.health.wait(Turn.MANIFEST), self.gauge("available")))

    def test_many_failures_open_it(self) -> None:
        """Some failures in a row open it; the error says for how long, and why."""
        for _ in range(FAILURES):
            self.let_through()
            self.health.failed(Turn.MANIFEST, ERROR, slow=False)
        error = self.refused()
        self.assertIn("it is on fire", error.message)
        self.assertEqual(str(int(SHORTEST) + 1), error.headers["Retry-After"])
        self.assertEqual((SHORTEST, 0), (self.health.wait(Turn.MANIFEST), self.gauge("available")))

    def test_one_timeout_opens_it(self) -> None:
        """What has cost a timeout must not cost the next one another."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.refused()

    def test_one_finds_out(self) -> None:
        """When the time is over, one request is let through, and the others wait for its outcome."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.assertFalse(self.health.due(Turn.MANIFEST))
        self.clock.advance(SHORTEST)
        self.assertTrue(self.health.due(Turn.MANIFEST))
        self.assertIsNone(self.health.refusal(Turn.MANIFEST))
        self.finds_out()
        self.refused()
        self.assertFalse(self.health.due(Turn.MANIFEST))
        self.assertGreater(self.health.wait(Turn.MANIFEST), 0)
        self.health.worked(Turn.MANIFEST)
        self.let_through()
        self.let_through()
        self.assertEqual((0, 1), (self.health.wait(Turn.MANIFEST), self.gauge("available")))

    def test_longer_each_time(self) -> None:
        """A host that does not come back is asked less and less often, down to a bound."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        pauses = []
        for _ in range(8):
            pauses.append(self.health.wait(Turn.MANIFEST))
            self.clock.advance(self.health.wait(Turn.MANIFEST))
            self.health.failed(Turn.MANIFEST, ERROR, slow=False, probe=self.finds_out())
        self.assertEqual([SHORTEST * 2**n for n in range(4)], pauses[:4])
        self.assertEqual([LONGEST] * 4, pauses[4:])
        self.clock.advance(LONGEST)
        self.finds_out()
        self.health.worked(Turn.MANIFEST)
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.assertEqual(SHORTEST, self.health.wait(Turn.MANIFEST))

    def test_nobody_found_out(self) -> None:
        """A request that ended without an answer lets the next one find out."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.clock.advance(SHORTEST)
        self.health.undecided(self.finds_out())
        self.finds_out()

    def test_bystanders(self) -> None:
        """Requests that began before it opened leave the one that finds out to it, if they fail."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.clock.advance(SHORTEST)
        probe = self.finds_out()
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.health.undecided()
        self.refused()
        self.health.failed(Turn.MANIFEST, ERROR, slow=False, probe=probe)
        self.assertEqual(2 * SHORTEST, self.health.wait(Turn.MANIFEST))
        self.clock.advance(2 * SHORTEST)
        probe = self.finds_out()
        self.health.held(1)
        self.clock.advance(1)
        self.refused()
        self.health.undecided(probe)
        self.finds_out()

    def test_bystanders_that_are_answered(self) -> None:
        """An answer shows that the host is back, whoever gets it."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.clock.advance(SHORTEST)
        late = self.finds_out()
        self.health.worked(Turn.MANIFEST)
        self.let_through()
        # Who was to find out has one failure to tell like any other, and not of the next opening.
        self.health.failed(Turn.MANIFEST, ERROR, slow=False, probe=late)
        self.assertEqual(0, self.health.wait(Turn.MANIFEST))
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.clock.advance(SHORTEST)
        self.finds_out()
        self.health.failed(Turn.MANIFEST, ERROR, slow=True, probe=late)
        self.refused()
        self.assertFalse(self.health.due(Turn.MANIFEST))

    def test_late_failures(self) -> None:
        """Requests that were under way when it opened do not make it stay open for longer."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        for _ in range(10):
            self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.assertEqual(SHORTEST, self.health.wait(Turn.MANIFEST))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not leave a host alone for good."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.health.held(10)
        self.clock.rightNow -= 10 * LONGEST_HOLD
        self.assertLessEqual(self.health.wait(Turn.MANIFEST), LONGEST_HOLD)
        self.finds_out()


class Blobs(HealthTestCase):
    """Blobs that fail, which many hosts leave to others."""

    def setUp(self) -> None:
        super().setUp()
        self.health.failed(Turn.BLOB, ERROR, slow=True)

    def waits(self) -> dict[Turn, float]:
        return {turn: self.health.wait(turn) for turn in Turn}

    def test_no_blob(self) -> None:
        """All that has to do with blobs is refused, and nothing else."""
        refused = {turn for turn in Turn if self.health.refusal(turn) is not None}
        self.assertEqual({Turn.SIZE, Turn.REST, Turn.BLOB}, refused)
        self.assertEqual(refused, {turn for turn, wait in self.waits().items() if wait})
        self.assertEqual(0, self.gauge("available"))
        self.assertFalse(self.health.on_hold(Turn.BLOB))

    def test_manifests_tell_nothing(self) -> None:
        """That a manifest came does not show that blobs would; that a blob came does."""
        self.let_through()
        self.health.worked(Turn.MANIFEST)
        self.clock.advance(SHORTEST)
        self.assertEqual((False, True), tuple(map(self.health.due, (Turn.MANIFEST, Turn.BLOB))))
        self.assertIsNotNone(self.health.admit(Turn.REST))
        self.health.worked(Turn.MANIFEST)
        self.assertRaises(Unavailable, self.health.admit, Turn.BLOB)
        self.let_through()
        self.health.worked(Turn.BLOB)
        self.assertEqual({0.0}, set(self.waits().values()))
        self.assertEqual(1, self.gauge("available"))

    def test_manifests_too(self) -> None:
        """If a manifest fails after that, the host is left alone altogether, until one comes."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.assertEqual({2 * SHORTEST}, set(self.waits().values()))
        self.clock.advance(2 * SHORTEST)
        self.finds_out()
        self.health.worked(Turn.MANIFEST)
        self.assertEqual({0.0}, set(self.waits().values()))

    def test_none_of_it(self) -> None:
        """A host that was left alone altogether stays so when a blob fails."""
        self.health.failed(Turn.MANIFEST, ERROR, slow=True)
        self.clock.advance(2 * SHORTEST)
        probe = self.health.admit(Turn.BLOB)
        self.health.failed(Turn.BLOB, ERROR, slow=True, probe=probe)
        self.assertEqual({4 * SHORTEST}, set(self.waits().values()))


class Held(HealthTestCase):
    """Hosts that ask to be left alone."""

    def test_not_before_its_time(self) -> None:
        """No request goes to a host before the moment that it named."""
        self.health.held(30)
        error = self.refused(TooManyRequests)
        self.assertEqual(
            ("31", 30), (error.headers["Retry-After"], self.health.wait(Turn.MANIFEST))
        )
        self.assertTrue(self.health.on_hold(Turn.MANIFEST))
        self.assertEqual(self.clock.seconds() + 30, self.gauge("held_until_seconds"))
        self.clock.advance(29.9)
        self.refused(TooManyRequests)
        self.clock.advance(0.1)
        self.let_through()
        self.assertFalse(self.health.on_hold(Turn.MANIFEST))

    def test_later_word_does_not_shorten(self) -> None:
        """Of several moments the latest counts, and none is farther off than a bound."""
        self.health.held(30)
        self.health.held(5)
        self.assertEqual(30, self.health.wait(Turn.MANIFEST))
        self.health.held(10 * LONGEST_HOLD)
        self.assertEqual(LONGEST_HOLD, self.health.wait(Turn.MANIFEST))

    def test_not_out_of_order(self) -> None:
        """A host that limits us is not one that has failed."""
        self.health.held(30)
        self.assertEqual(1, self.gauge("available"))
        self.assertFalse(self.health.due(Turn.MANIFEST))
