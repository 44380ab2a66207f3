"""The log and the metrics of a store that fails and recovers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_health import READ, WRITTEN, StoreHealth
from oci_registry.storage.interfaces import StoreError

RECOVERY = 60.0


class StoreHealthTests(SynchronousTestCase):
    """`StoreHealth` of one store."""

    def setUp(self) -> None:
        self.metrics = Metrics()
        self.clock = Clock()
        self.health = StoreHealth(self.clock, self.metrics, RECOVERY)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Any) -> None:
        if event.get("log_namespace", "").endswith("StoreHealth"):
            self.lines.append(event["log_format"].format(**event))

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def wait(self, access: str, outcome: Deferred[str]) -> str:
        return self.successResultOf(
            Deferred.fromCoroutine(self.health.or_default(access, outcome, "default"))
        )

    def test_one_line(self) -> None:
        """Several failures are logged once, as is the recovery; each failure is counted."""
        for _ in range(5):
            self.assertEqual(self.wait(READ, fail(StoreError("I/O error"))), "default")
        self.assertEqual(self.lines, ["the store cannot be read, pulls go on uncached: I/O error"])
        self.assertEqual(self.value("oci_registry_store_failing", doing="read"), 1)
        self.clock.advance(RECOVERY)
        for _ in range(5):
            self.assertEqual(self.wait(READ, succeed("value")), "value")
        self.assertEqual(self.lines[1:], ["the store can be read again, after 5 failures"])
        self.assertEqual(self.value("oci_registry_store_failing", doing="read"), 0)
        self.assertEqual(self.value("oci_registry_errors_total", kind="store"), 5)

    def test_now_and_then(self) -> None:
        """A store that fails every other time is failing, until it has not failed for a while."""
        for _ in range(20):
            self.health.record_failure(WRITTEN, StoreError("No space left on device"))
            self.clock.advance(RECOVERY - 1)
            self.health.record_success(WRITTEN)
            self.assertEqual(self.value("oci_registry_store_failing", doing="written"), 1)
        self.assertEqual(len(self.lines), 1)
        self.clock.advance(1)
        self.health.record_success(WRITTEN)
        self.health.record_success(WRITTEN)
        self.assertEqual(self.lines[1:], ["the store can be written again, after 20 failures"])
        self.assertEqual(self.value("oci_registry_store_failing", doing="written"), 0)
        self.health.record_failure(WRITTEN, StoreError("No space left on device"))
        self.assertEqual(len(self.lines), 3)

    def test_apart(self) -> None:
        """A success in reading does not end a failure in writing."""
        self.health.record_failure(WRITTEN, StoreError("No space left on device"))
        self.wait(READ, succeed("value"))
        self.assertEqual(len(self.lines), 1)
        self.assertEqual(self.value("oci_registry_store_failing", doing="written"), 1)
        self.assertEqual(self.value("oci_registry_store_failing", doing="read"), 0)

    def test_other_errors(self) -> None:
        """Errors other than StoreError are raised."""
        work = Deferred.fromCoroutine(self.health.or_default(READ, fail(KeyError("x")), None))
        self.failureResultOf(work, KeyError)
        self.assertEqual(self.lines, [])
