"""Failures open a circuit, a probe closes it, and what works is kept apart from what fails."""

from __future__ import annotations

from oci_registry.spec.errors import (
    BadGateway,
    GatewayTimeout,
    ManifestUnknown,
    TooManyRequests,
)
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import (
    CircuitOpen,
    LocalFailure,
    TargetFailed,
    Unreachable,
    WrongAnswer,
)
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import Kind
from tests.support.reports import breaker_log
from tests.unit.upstream.breakers_case import (
    CDN,
    DEAD,
    ERROR,
    HOST,
    SLOW,
    BreakersTestCase,
    X,
    Y,
    Z,
    about,
)

LIMITS = UpstreamLimits()
FAILURES, PROBES = LIMITS.breaker.failures, LIMITS.breaker.probes
FIRST, LONGEST = LIMITS.breaker.first_pause, LIMITS.breaker.longest_pause


class Evidence(BreakersTestCase):
    """What a failure says, and about what."""

    def test_one_question(self) -> None:
        """A request that fails again and again opens only its own breaker."""
        for _ in range(FAILURES):
            self.put(X, ERROR)
        self.refused(X)
        for other in (about("x", "other"), Y, about("x", kind=Kind.BLOB)):
            self.assertEqual(0, self.wait(other), other)
            self.put(other)
        self.assertEqual(1, self.gauge("available"))

    def test_one_timeout(self) -> None:
        """One timeout is enough, for the request that has cost it."""
        self.put(X, SLOW)
        self.refused(X)
        self.put(about("x", "other"))
        self.put(Y)

    def test_one_repository(self) -> None:
        """Two subjects of a repository that time out keep the repository back, and no other."""
        self.put(X, SLOW)
        self.put(about("x", "other"), SLOW)
        self.refused(about("x", "third"))
        self.put(Y)
        self.assertEqual(1, self.gauge("available"))

    def test_two_repositories(self) -> None:
        """Two repositories that time out with nothing that works between keep the kind back."""
        self.put(X, SLOW)
        self.put(Y, SLOW)
        error = self.refused(Z)
        self.assertIn("too slow", error.message)
        self.assertEqual(str(int(FIRST) + 1), error.headers["Retry-After"])
        self.assertEqual((FIRST, 0), (self.wait(Z), self.gauge("available")))
        self.put(about("z", kind=Kind.BLOB))

    def test_works_between(self) -> None:
        """What works between shows that it is not the host."""
        for _ in range(10):
            self.put(X, SLOW, wait=True)
            self.put(Z)
            self.put(Y, SLOW, wait=True)
            self.put(Z)
        self.assertEqual((0, 1), (self.wait(Z), self.gauge("available")))

    def test_many_failures(self) -> None:
        """Some quick failures in a row, of more than one repository, show that the host is at fault."""
        for number in range(FAILURES):
            self.assertEqual(0, self.wait(Z))
            self.put((X, Y)[number % 2], ERROR)
        self.refused(Z)

    def test_out_of_reach(self) -> None:
        """Where no connection can be made it is the host, whatever it was asked."""
        self.put(X, DEAD)
        self.refused(Y)
        self.setUp()
        for _ in range(FAILURES):
            self.put(X, Unreachable("refused"))
        self.refused(Y)
        self.assertEqual(1, len(self.breakers))

    def test_no_failures(self) -> None:
        """Negative and useless answers are answers; limits, and bugs of ours, are no failures."""
        for outcome in (
            ManifestUnknown("?"),
            WrongAnswer("?"),
            LocalFailure("?"),
            CircuitOpen("?"),
            TooManyRequests("our own queue"),
            TargetFailed(SLOW),
            ValueError("a defect"),
        ):
            for request in (X, Y) * FAILURES:
                self.put(request, outcome)
        self.assertEqual((0, 1), (self.wait(X), self.gauge("available")))

    def test_alternatives(self) -> None:
        """Where other hosts can be asked, one timeout is enough for everything of its kind."""
        watch = self.metrics.host("example.com", HOST)
        log = breaker_log("example.com", HOST)
        self.breakers = Breakers(HOST, self.clock, lambda: 1.0, watch, log, alternatives=True)
        self.put(X, SLOW)
        self.refused(Y)
        self.put(about("x", kind=Kind.BLOB))

    def test_targets(self) -> None:
        """Where a host leads to fails by itself."""
        self.put(X, DEAD, endpoint=CDN)
        self.failureResultOf(self.admit(Y, endpoint=CDN), CircuitOpen)
        self.put(X)
        self.put(X, endpoint="https://other.example:443")
        self.assertEqual((0, 1), (self.wait(X), self.gauge("available")))

    def test_bounded(self) -> None:
        """However much fails, there is an end to what is kept of it."""
        self.breakers = self.make(limits=UpstreamLimits(remembered=10))
        for number in range(100):
            self.put(about(f"r{number}"), ERROR, wait=True)
        self.assertLessEqual(len(self.breakers), 10)

    def test_nothing_is_kept_of_what_works(self) -> None:
        """An answer removes what was kept of a request."""
        self.put(X, ERROR)
        self.put(X)
        self.assertLessEqual(len(self.breakers), 1)


class Probing(BreakersTestCase):
    """How a circuit closes again."""

    def setUp(self) -> None:
        super().setUp()
        self.put(X, DEAD)

    def test_when_it_is_due(self) -> None:
        """After a while one request is let through, and the others are refused until it is answered."""
        self.clock.advance(FIRST - 0.1)
        self.refused(X)
        self.clock.advance(0.1)
        self.assertEqual(0, self.wait(X))
        probe = self.let(X)
        self.refused(Y)
        self.assertGreater(self.wait(X), 0)
        probe.record_success()
        self.put(X)
        self.put(Y)
        self.assertEqual((0, 1), (self.wait(X), self.gauge("available")))

    def test_longer_each_time(self) -> None:
        """A host that does not recover is probed less and less often, down to a bound."""
        waits = []
        for _ in range(8):
            waits.append(self.wait(X))
            self.clock.advance(self.wait(X))
            self.put(X, DEAD)
        self.assertEqual([FIRST * 2**n for n in range(4)], waits[:4])
        self.assertEqual([LONGEST] * 4, waits[4:])
        self.clock.advance(LONGEST)
        self.put(X)
        self.put(X, DEAD)
        self.assertEqual(FIRST, self.wait(X))

    def test_released(self) -> None:
        """A probe that ended without an answer lets the next request be one."""
        self.clock.advance(FIRST)
        self.let(X).release()
        self.let(Y)

    def test_late_failures(self) -> None:
        """Requests from before it opened do not keep it open for longer, but close it if answered."""
        for _ in range(10):
            self.breakers.record_failure(Kind.MANIFEST, X, DEAD)
        self.assertEqual(FIRST, self.wait(X))
        self.breakers.record_success(Kind.MANIFEST, Y)
        self.assertEqual(0, self.wait(X))

    def test_probe_of_before(self) -> None:
        """A probe that fails after the circuit has closed is a failure like any other."""
        self.clock.advance(FIRST)
        late = self.let(X)
        self.breakers.record_success(Kind.MANIFEST, Y)
        late.record(ERROR)
        self.assertEqual(0, self.wait(Y))

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep a breaker open for good."""
        self.breakers.record_limit(Kind.MANIFEST, X, 10)
        self.clock.rightNow -= 10 * LIMITS.retry_after
        self.assertEqual(0, self.wait(X))
        self.let(X)


class Waiting(BreakersTestCase):
    """A request that has no other host is not refused."""

    def setUp(self) -> None:
        super().setUp()
        self.put(X, SLOW)
        self.put(Y, SLOW)

    def test_probe_at_once(self) -> None:
        """The first to need it is a probe, though it is not time for one."""
        self.refused(Z)
        probe = self.let(Z, wait=True)
        probe.record_success()
        self.put(Z)

    def test_together(self) -> None:
        """Others of the same repository wait for it, and are let through when it is answered."""
        probe = self.let(Z, wait=True)
        waiting = [self.admit(about("z", f"t{n}"), wait=True) for n in range(5)]
        for one in waiting:
            self.assertNoResult(one)
        probe.record_success()
        for one in waiting:
            self.successResultOf(one)

    def test_real_outcome(self) -> None:
        """If it fails, they fail as it did, each with an error of its own."""
        probe = self.let(Z, wait=True)
        waiting = [self.admit(about("z", f"t{n}"), wait=True) for n in range(2)]
        probe.record(BadGateway("still on fire"))
        errors = [self.failureResultOf(one, BadGateway).value for one in waiting]
        self.assertEqual(["still on fire"] * 2, [str(error) for error in errors])
        self.assertIsNot(errors[0], errors[1])

    def test_probe_that_leaves(self) -> None:
        """If it ends without an answer, the next one is the probe."""
        probe = self.let(Z, wait=True)
        first, second = (self.admit(about("z", f"t{n}"), wait=True) for n in range(2))
        probe.release()
        self.successResultOf(first)
        self.assertNoResult(second)

    def test_hanging_probes(self) -> None:
        """Another repository is a probe beside those that hang, up to some at once."""
        for number in range(PROBES - 1):
            self.let((X, Y)[number], wait=True)
        probe = self.let(Z, wait=True)
        more = self.admit(about("more"), wait=True)
        self.assertNoResult(more)
        probe.record_success()
        self.successResultOf(more)

    def test_not_for_ever(self) -> None:
        """Nobody waits for longer than there is time."""
        self.let(Z, wait=True)
        waiting = self.admit(Z, wait=True, within=5.0)
        self.clock.advance(5.0)
        error = self.failureResultOf(waiting, GatewayTimeout).value
        self.assertIn("too slow", str(error))

    def test_leaving(self) -> None:
        """A caller that leaves while waiting is forgotten."""
        probe = self.let(Z, wait=True)
        waiting = self.admit(Z, wait=True)
        waiting.cancel()
        self.failureResultOf(waiting)
        probe.record_success()
        self.assertEqual([], self.clock.getDelayedCalls())
