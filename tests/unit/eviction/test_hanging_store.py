"""A store that hangs while it is swept."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.spec.digest import Digest
from oci_registry.storage.guard import GuardedDriver, StoreLimits
from oci_registry.storage.keys import blob_key
from tests.unit.eviction.support import DAY, SweepTestCase

LIMITS = StoreLimits()
INTERVAL = 300.0


class Hanging(SweepTestCase):
    """A listing that never continues."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = self.driver
        self.hanging = True
        real = self.memory.list

        async def listing(prefix: str) -> Any:
            if self.hanging:
                await Deferred()
            async for info in real(prefix):
                yield info

        self.patch(self.memory, "list", listing)
        self.driver: Any = GuardedDriver(self.memory, "/x", self.clock)
        self.restart()
        self.periodic = PeriodicSweep(self.sweep, INTERVAL, self.clock, self.metrics)
        self.periodic.start()

    def failed(self) -> float | None:
        """Return how many sweeps have failed."""
        name = "oci_registry_errors_total"
        return self.metrics.registry.get_sample_value(name, {"kind": "sweep"})

    def test_next_sweep(self) -> None:
        """The sweep fails after its deadline, and the next one, on a store that is back, does its work."""
        self.memory.place(blob_key(Digest.of(b"old")), b"old", sealed=True)
        self.clock.advance(30 * DAY)
        self.clock.advance(LIMITS.listing - 1)
        self.assertEqual(0, self.failed())
        self.clock.advance(1)
        self.assertEqual(1, self.failed())
        self.hanging = False
        self.clock.advance(INTERVAL)
        self.assertEqual({}, self.memory._objects)
        self.periodic.stop()

    def test_stop(self) -> None:
        """The daemon stops nevertheless."""
        self.clock.advance(INTERVAL)
        self.periodic.stop()
        stopping = self.driver.stop()
        self.clock.advance(LIMITS.cleanup)
        self.successResultOf(stopping)
        self.assertEqual([], self.clock.getDelayedCalls())
