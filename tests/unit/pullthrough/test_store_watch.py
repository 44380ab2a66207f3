"""Checks of the store, for readiness and the metrics."""

from __future__ import annotations

from math import isnan
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.store_watch import StoreState, StoreWatch, StoreWatchLimits
from oci_registry.storage.interfaces import Space, StoreError

LIMITS = StoreWatchLimits()


class Driver:
    """A driver that gives the results that the test has set; None: none yet."""

    def __init__(self) -> None:
        self.reading: Deferred[None] | None = succeed(None)
        self.writing: Deferred[None] | None = succeed(None)
        self.volume: Space | None = None
        self.calls: list[tuple[str, Deferred[Any]]] = []

    def _call(self, name: str, result: Deferred[Any] | None) -> Deferred[Any]:
        self.calls.append((name, Deferred() if result is None else result))
        return self.calls[-1][1]

    def check_reading(self) -> Deferred[None]:
        return self._call("read", self.reading)

    def check_writing(self) -> Deferred[None]:
        return self._call("write", self.writing)

    def space(self) -> Deferred[Space | None]:
        return self._call("space", succeed(self.volume))


class Watching(SynchronousTestCase):
    """A store, its gauges and its log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.driver: Any = Driver()
        self.metrics = Metrics()
        self.health = StoreHealth(self.clock, self.metrics)
        self.watch = StoreWatch(self.driver, self.health, self.metrics, self.clock)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("oci_registry"):
            self.lines.append(formatEvent(event))

    def check(self) -> Deferred[StoreState]:
        return Deferred.fromCoroutine(self.watch.check())

    def value(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"oci_registry_{name}", labels)
        assert value is not None
        return value

    def test_works(self) -> None:
        """A store that works is readable and writable, and nothing is logged."""
        self.assertEqual(StoreState(), self.successResultOf(self.check()))
        self.assertEqual((1, 1), (self.value("store_readable"), self.value("store_writable")))
        self.assertEqual([], self.lines)

    def test_directions(self) -> None:
        """A full volume can be read: each direction has its reason, its gauge and one line in the log."""
        self.driver.writing = fail(StoreError("No space left on device"))
        for _ in range(3):
            state = self.successResultOf(self.check())
            self.assertEqual(StoreState(None, "No space left on device"), state)
            self.driver.writing = fail(StoreError("No space left on device"))
        self.driver.writing.addErrback(lambda _: None)
        self.assertEqual((1, 0), (self.value("store_readable"), self.value("store_writable")))
        self.assertEqual(1, self.value("store_failing", doing="written"))
        self.assertEqual(0, self.value("errors_total", kind="store"))
        failed = "the store cannot be written, pulls go on uncached: No space left on device"
        self.assertEqual([failed], self.lines)
        self.driver.writing = succeed(None)
        self.clock.advance(10)
        self.assertEqual(StoreState(), self.successResultOf(self.check()))
        self.assertEqual(1, self.value("store_writable"))
        self.assertEqual(["the store can be written again, after 3 failures"], self.lines[1:])

    def test_pulls_log_it_first(self) -> None:
        """What a pull has logged is not logged again by a check."""
        self.health.record_failure("read", StoreError("I/O error"))
        self.driver.reading = fail(StoreError("I/O error"))
        self.assertEqual("I/O error", self.successResultOf(self.check()).unreadable)
        self.assertEqual(0, self.value("store_readable"))
        self.assertEqual(1, len(self.lines))

    def test_hanging(self) -> None:
        """A store that does not answer fails the check in time."""
        self.driver.reading = None
        checking = self.check()
        self.clock.advance(LIMITS.timeout)
        state = self.successResultOf(checking)
        self.assertEqual(StoreState("the store did not answer within 5 s", None), state)

    def test_crash(self) -> None:
        """A check that crashes leaves the details to the log."""
        self.driver.reading = fail(ZeroDivisionError("secret"))
        state = self.successResultOf(self.check())
        self.assertEqual("the store could not be checked; see the log", state.unreadable)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_at_the_same_time(self) -> None:
        """One check serves all that ask meanwhile, and outlives them."""
        self.driver.reading = None
        first, second = self.check(), self.check()
        first.cancel()
        self.failureResultOf(first)
        self.assertEqual(3, len(self.driver.calls))
        self.driver.calls[0][1].callback(None)
        self.assertEqual(StoreState(), self.successResultOf(second))

    def test_space(self) -> None:
        """The space of a volume is exported, and not asked for at each check."""
        self.driver.volume = Space(free=300, size=1000)
        for _ in range(3):
            self.successResultOf(self.check())
        self.assertEqual(300, self.value("store_free_bytes"))
        self.assertEqual(1000, self.value("store_size_bytes"))
        self.assertEqual(1, [name for name, _ in self.driver.calls].count("space"))
        self.driver.volume = Space(free=200, size=1000)
        self.clock.advance(LIMITS.space_age)
        self.successResultOf(self.check())
        self.assertEqual(200, self.value("store_free_bytes"))

    def test_space_unknown(self) -> None:
        """What cannot be measured any more is not known, whatever it was before."""
        self.check()
        self.driver.space = lambda: fail(StoreError("No such file or directory"))  # type: ignore[method-assign]
        self.clock.advance(LIMITS.space_age)
        self.check()
        self.assertTrue(isnan(self.value("store_free_bytes")))
        self.assertTrue(isnan(self.value("store_size_bytes")))

    def test_no_volume(self) -> None:
        """A store without a volume has no space that an alert could find too small."""
        self.successResultOf(self.check())
        self.assertTrue(isnan(self.value("store_free_bytes")))
        self.assertTrue(isnan(self.value("store_size_bytes")))
