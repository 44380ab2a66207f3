"""Breakers of registries that are asked at one host."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import BadGateway, ManifestUnknown, RegistryError
from oci_registry.upstream.breaker_keys import Endpoint
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.connectivity import SharedBreakers
from oci_registry.upstream.errors import ConnectTimedOut, Limited, TimedOut, Unreachable
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.support.reports import breaker_log

HOST = "mirror.lan"
X = ApiRequest(Kind.MANIFEST, "x", "latest")
Y = ApiRequest(Kind.MANIFEST, "y", "latest")
DEAD = ConnectTimedOut("dead")
FAILURES = UpstreamLimits().breaker.failures
FIRST = UpstreamLimits().breaker.first_pause


class Sharing(SynchronousTestCase):
    """Two registries at one host, and another host to ask instead."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.metrics = Metrics(["*"])
        watch = self.metrics.host("*", HOST)
        log = breaker_log("*", HOST)
        self.connectivity = Breakers(HOST, self.clock, lambda: 1.0, watch, log, alternatives=True)
        self.one, self.other = (self.make(name) for name in ("one.test", "other.test"))

    def make(self, namespace: str) -> SharedBreakers:
        watch = self.metrics.host(namespace, HOST)
        log = breaker_log(namespace, HOST)
        return SharedBreakers(
            HOST,
            self.clock,
            lambda: 1.0,
            watch,
            log,
            connectivity=self.connectivity,
            alternatives=True,
        )

    def put(
        self,
        breakers: Breakers,
        outcome: RegistryError | None = None,
        request: ApiRequest = X,
        endpoint: Endpoint = Kind.MANIFEST,
    ) -> None:
        """Send a request, which ends so."""

        async def work() -> None:
            if outcome is not None:
                raise outcome

        admitting = Deferred.fromCoroutine(breakers.admit(endpoint, request, 20.0, wait=False))
        done = Deferred.fromCoroutine(self.successResultOf(admitting).watch(work()))
        done.addErrback(lambda failure: failure.trap(RegistryError))
        self.successResultOf(done)

    def open(self, breakers: Breakers) -> bool:
        return breakers.is_open(Kind.MANIFEST, X)

    def test_timeout(self) -> None:
        """That nobody answers at the host has to be found out by one registry only."""
        self.put(self.one, DEAD)
        self.assertEqual((True, True), (self.open(self.one), self.open(self.other)))
        self.assertEqual(FIRST, self.other.wait(Kind.MANIFEST, Y))
        self.assertTrue(self.open(self.make("new.test")))

    def test_refused(self) -> None:
        """Connections that are refused are counted together."""
        for number in range(FAILURES):
            self.assertFalse(self.open(self.one))
            self.put(self.one if number % 2 else self.other, Unreachable("refused"))
        self.assertEqual((True, True), (self.open(self.one), self.open(self.other)))

    def test_reached_again(self) -> None:
        """Any answer shows that the host can be reached, even the failure of one registry."""
        for outcome in (None, BadGateway("502"), TimedOut("slow"), Limited("enough", 5.0)):
            self.put(self.one, DEAD)
            self.clock.advance(FIRST)
            self.put(self.other, outcome)
            self.assertEqual(0, self.make("new.test").wait(Kind.MANIFEST, X), outcome)
            self.other = self.make("other.test")
        self.put(self.one, DEAD)
        self.clock.advance(FIRST)
        self.put(self.one, ManifestUnknown("none"))
        self.assertFalse(self.open(self.other))

    def test_probe_fails(self) -> None:
        """The registry that finds the host out of reach once more keeps the others waiting for longer."""
        self.put(self.one, DEAD)
        self.clock.advance(FIRST)
        self.put(self.other, DEAD)
        self.assertEqual(2 * FIRST, self.one.wait(Kind.MANIFEST, X))

    def test_trouble_of_one(self) -> None:
        """What the host answers, or does not in time, is about the registry alone."""
        for outcome in (TimedOut("slow"), BadGateway("502")):
            one = self.make("one.test")
            for _ in range(FAILURES):
                if not self.open(one):
                    self.put(one, outcome)
            self.assertEqual((True, False), (self.open(one), self.open(self.other)))
        self.put(self.make("one.test"), Limited("enough", 60.0))
        self.assertEqual(0, self.other.wait(Kind.MANIFEST, X))

    def test_elsewhere(self) -> None:
        """Servers that the host leads to are no part of it."""
        cdn = "https://cdn.example:443"
        self.put(self.one, DEAD, endpoint=cdn)
        self.assertTrue(self.one.is_open(cdn, X))
        self.assertFalse(self.other.is_open(cdn, X))
        self.assertEqual(0, len(self.connectivity))

    def test_exported(self) -> None:
        """Whether the host can be reached is exported for all of them together."""
        labels = {"namespace": "*", "host": HOST}
        name = "oci_registry_upstream_available"
        self.assertEqual(1, self.metrics.registry.get_sample_value(name, labels))
        self.put(self.one, DEAD)
        self.assertEqual(0, self.metrics.registry.get_sample_value(name, labels))
        self.clock.advance(FIRST)
        self.put(self.other)
        self.assertEqual(1, self.metrics.registry.get_sample_value(name, labels))
