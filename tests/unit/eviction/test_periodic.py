"""The sweep that comes again and again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.events import EventLog
from oci_registry.eviction.periodic import PeriodicSweep, SweepStatus
from oci_registry.metrics import Metrics
from oci_registry.storage.interfaces import StoreError


class Sweep:
    """A sweep that ends when it is told to."""

    def __init__(self) -> None:
        self.under_way: list[Deferred[None]] = []
        self.cancelled = 0

    async def run(self) -> None:
        """Wait."""
        self.under_way.append(Deferred(self.cancel))
        await self.under_way[-1]

    def cancel(self, _: object) -> None:
        """It is broken off."""
        self.cancelled += 1


class Periodic(SynchronousTestCase):
    """Every so many seconds."""

    def setUp(self) -> None:
        """It has been started."""
        self.clock = Clock()
        self.sweep: Any = Sweep()
        self.metrics = Metrics()
        self.periodic = PeriodicSweep(self.sweep, 300.0, self.clock, self.metrics)
        self.periodic.start()

    def failed(self) -> float | None:
        """Return how many sweeps are counted as failed."""
        name = "oci_registry_errors_total"
        return self.metrics.registry.get_sample_value(name, {"kind": "sweep"})

    def test_status(self) -> None:
        """What is known of the latest sweep is told, and each is an event when it begins and ends."""
        events = EventLog(self.clock)
        periodic = PeriodicSweep(self.sweep, 300.0, self.clock, self.metrics, events)
        self.assertEqual(SweepStatus(300.0), periodic.status)
        self.clock.advance(5)
        ended = periodic.run()
        self.assertEqual(SweepStatus(300.0, running=True, began=5.0), periodic.status)
        self.clock.advance(2)
        self.sweep.under_way.pop().callback(None)
        self.successResultOf(ended)
        self.assertEqual(SweepStatus(300.0, began=5.0, seconds=2.0), periodic.status)
        periodic.run()
        self.sweep.under_way.pop().errback(StoreError("no disk"))
        self.assertEqual((False, "no disk"), (periodic.status.running, periodic.status.error))
        phases = [event.fields["phase"] for event in events.since(0)]
        self.assertEqual(["begun", "ended", "begun", "failed"], phases)

    def test_at_its_time(self) -> None:
        """It comes after each interval, and not while one is under way."""
        self.clock.advance(299)
        self.assertEqual(0, len(self.sweep.under_way))
        self.clock.advance(1)
        self.assertEqual(1, len(self.sweep.under_way))
        self.clock.advance(300)
        self.assertEqual(1, len(self.sweep.under_way))
        self.sweep.under_way[0].callback(None)
        self.clock.advance(300)
        self.assertEqual(2, len(self.sweep.under_way))

    def test_asked_for(self) -> None:
        """A caller that asks for a sweep while one is running waits for that one."""
        first, second = self.periodic.run(), self.periodic.run()
        self.assertEqual(1, len(self.sweep.under_way))
        self.sweep.under_way[0].callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.periodic.run()
        self.assertEqual(2, len(self.sweep.under_way))

    def test_failing(self) -> None:
        """One that fails is counted, and the next one comes."""
        self.clock.advance(300)
        self.sweep.under_way[0].errback(OSError("Input/output error"))
        self.assertEqual(1, self.failed())
        self.clock.advance(300)
        self.assertEqual(2, len(self.sweep.under_way))

    def test_stop(self) -> None:
        """Stopping breaks off the sweep under way, which is no failure, and there is none any more."""
        self.clock.advance(300)
        self.periodic.stop()
        self.assertEqual(1, self.sweep.cancelled)
        self.assertFalse(self.failed())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_idle(self) -> None:
        """Stopping without a sweep under way, or before the start, is fine."""
        self.periodic.stop()
        self.periodic.stop()
        PeriodicSweep(self.sweep, 300.0, self.clock, self.metrics).stop()
        self.assertEqual([], self.clock.getDelayedCalls())
