"""What a client waits for has a deadline, and what hangs is not asked again until a probe succeeds."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.guard import GuardedDriver, StoreLimits
from oci_registry.storage.interfaces import StoreError, StoreUnavailable

KEY = "blobs/sha256/ab/cdef"
LIMITS = StoreLimits()


class Slow:
    """A driver whose calls of the names in `hanging` are answered when the test says so."""

    def __init__(self, driver: MemoryDriver) -> None:
        self._driver = driver
        self.hanging: set[str] = set()
        self.calls: list[tuple[str, Deferred[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: (
            self._call(name, args)
            if callable(getattr(self._driver, name))
            else getattr(self._driver, name)
        )

    sweep_interval = 300.0
    check_interval = 0.0

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        if name not in self.hanging:
            return getattr(self._driver, name)(*args)
        late: Deferred[Any] = Deferred()
        self.calls.append((name, late))
        return late

    def count(self, name: str) -> int:
        """Return how many calls have hung."""
        return sum(called == name for called, _ in self.calls)


class Closable:
    """An object or a writer; what happens to it is noted."""

    info = None
    head = b""
    read = read_now = can_send = send_now = append = commit = None

    def __init__(self) -> None:
        self.done: list[str] = []

    def cancel(self) -> Deferred[None]:
        """Note it, and be done later."""
        self.done.append("cancel")
        self.cancelled: Deferred[None] = Deferred()
        return self.cancelled

    def close(self) -> None:
        """Note it."""
        self.done.append("close")


class GuardTestCase(SynchronousTestCase):
    """A guard around a driver that may hang."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = MemoryDriver(self.clock)
        self.slow: Any = Slow(self.memory)
        self.guard = GuardedDriver(self.slow, "/x", self.clock)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Any) -> None:
        """Keep what the guard logs."""
        if str(event.get("log_namespace", "")).startswith("oci_registry"):
            self.logged.append(event["log_format"].format_map(event))

    def misses(self, call: Any, seconds: float) -> str:
        """Make a call that misses its deadline; return what it says."""
        result = call()
        self.clock.advance(seconds - 0.01)
        self.assertNoResult(result)
        self.clock.advance(0.01)
        return str(self.failureResultOf(result, StoreUnavailable).value)

    def open_reads(self) -> None:
        """Open the circuit of the reads."""
        self.slow.hanging.update(("stat", "check_reading"))
        calls = [self.guard.stat(f"{KEY}{number}") for number in range(3)]
        self.clock.advance(LIMITS.lookup)
        for call in calls:
            self.failureResultOf(call, StoreUnavailable)


class Deadlines(GuardTestCase):
    """Nothing that a client waits for takes longer than it may."""

    def test_every_call(self) -> None:
        """A call that hangs fails in time, and says where, after how long and in which direction."""
        calls = {
            "stat": (lambda g: g.stat(KEY), LIMITS.lookup, "read"),
            "open": (lambda g: g.open(KEY, 10), LIMITS.lookup, "read"),
            "get": (lambda g: g.get(KEY, 10), LIMITS.lookup, "read"),
            "link": (lambda g: g.link(KEY), LIMITS.lookup, "read"),
            "check_reading": (lambda g: g.check(), LIMITS.lookup, "read"),
            "check_writing": (lambda g: g.check(), LIMITS.lookup, "write"),
            "create": (lambda g: g.create(KEY), LIMITS.begin, "write"),
            "put": (lambda g: g.put(KEY, b""), LIMITS.record, "write"),
        }
        for name, (call, seconds, direction) in calls.items():
            self.slow.hanging = {name}
            guard = GuardedDriver(self.slow, "/x", self.clock)
            said = self.misses(lambda call=call, guard=guard: call(guard), seconds)
            self.assertEqual(
                said, f"the store at /x did not answer within {seconds:g} s ({direction})"
            )

    def test_in_time(self) -> None:
        """What is answered in time is the answer, and no timer is left."""
        self.successResultOf(self.guard.put(KEY, b"data"))
        self.slow.hanging = {"get"}
        result = self.guard.get(KEY, 10)
        self.slow.calls[0][1].callback(b"data")
        self.assertEqual(self.successResultOf(result), b"data")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rate_of_reads(self) -> None:
        """A read of an object has as much time as its length needs at the least rate."""
        self.successResultOf(self.guard.put(KEY, b"data"))
        stored: Any = self.successResultOf(self.guard.open(KEY))
        for length, seconds in ((1, LIMITS.read), (4 * 1024 * 1024, 4 * LIMITS.read)):
            stored._stored.read = lambda offset, length: Deferred()
            self.misses(lambda length=length: stored.read(0, length), seconds)

    def test_late_object(self) -> None:
        """An object that is opened after the deadline, or when the client has left, is closed."""
        self.slow.hanging = {"open"}
        self.misses(lambda: self.guard.open(KEY), LIMITS.lookup)
        left = self.guard.open(KEY)
        left.cancel()
        self.failureResultOf(left)
        for _, late in self.slow.calls:
            stored = Closable()
            late.callback(stored)
            self.assertEqual(stored.done, ["close"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_nothing(self) -> None:
        """What turns out late not to be there, or fails late, is nothing to clean up."""
        self.slow.hanging = {"open"}
        self.misses(lambda: self.guard.open(KEY), LIMITS.lookup)
        self.misses(lambda: self.guard.open(KEY), LIMITS.lookup)
        self.slow.calls[0][1].callback(None)
        self.slow.calls[1][1].errback(StoreError("gone"))

    def test_late_writer(self) -> None:
        """A writer that comes after the deadline is cancelled, and closed when that is done."""
        self.slow.hanging = {"create"}
        self.misses(lambda: self.guard.create(KEY), LIMITS.begin)
        writer = Closable()
        self.slow.calls[0][1].callback(writer)
        self.assertEqual(writer.done, ["cancel"])
        writer.cancelled.errback(StoreError("no"))
        self.assertEqual(writer.done, ["cancel", "close"])

    def test_stop(self) -> None:
        """Stopping leaves no timer, and waits for a driver that hangs only so long."""
        self.open_reads()
        self.slow.hanging.add("stop")
        stopping = self.guard.stop()
        self.assertNoResult(stopping)
        self.clock.advance(LIMITS.cleanup)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Circuits(GuardTestCase):
    """A medium that hangs is not asked by what a client waits for."""

    def test_opens(self) -> None:
        """Several misses in a row open the circuit; then calls fail at once, with the reason."""
        self.open_reads()
        said = str(self.failureResultOf(self.guard.get(KEY, 1), StoreUnavailable).value)
        self.assertEqual(
            said, "the store at /x did not answer within 2 s (read) (circuit breaker open)"
        )
        self.assertEqual(len(self.logged), 1)
        self.assertIn("circuit breaker open for reads", self.logged[0])

    def test_not_by_one(self) -> None:
        """A single miss, or two with an answer between, do not open it."""
        self.slow.hanging = {"stat"}
        for number in range(5):
            self.misses(partial(self.guard.stat, f"{KEY}{number}"), LIMITS.lookup)
            answered = self.guard.stat(KEY)
            self.slow.calls[-1][1].callback(None)
            self.successResultOf(answered)
        self.assertEqual(self.logged, [])

    def test_not_by_one_object(self) -> None:
        """Objects that hang alone open it only when another one hangs too, before any answer."""
        self.slow.hanging = {"stat"}
        for _ in range(5):
            self.misses(lambda: self.guard.stat(KEY), LIMITS.lookup)
        self.assertEqual([], self.logged)
        self.assertIsNone(self.successResultOf(self.guard.link("blobs/sha256/ab/other")))
        for key in (KEY, f"{KEY}1"):
            self.slow.hanging = {"get"}
            self.misses(partial(self.guard.get, key, 1), LIMITS.lookup)
        self.assertEqual(1, len(self.logged))
        self.failureResultOf(self.guard.stat("blobs/sha256/ab/other"), StoreUnavailable)
        self.guard.stop()

    def test_threads_for_others(self) -> None:
        """Only a few look-ups of one object are made at once; those whose time is over are not made."""
        self.slow.hanging = {"stat"}
        first = [self.guard.stat(KEY) for _ in range(LIMITS.alike + 3)]
        other = self.guard.stat("blobs/sha256/ab/other")
        self.assertEqual(LIMITS.alike + 1, len(self.slow.calls))
        self.slow.calls[-1][1].callback(None)
        self.assertIsNone(self.successResultOf(other))
        self.slow.calls[0][1].callback(None)
        self.assertIsNone(self.successResultOf(first[0]))
        self.assertEqual(LIMITS.alike + 2, len(self.slow.calls))
        self.clock.advance(LIMITS.lookup)
        for late in first[1:]:
            self.failureResultOf(late, StoreUnavailable)
        for _, call in self.slow.calls[1 : LIMITS.alike] + self.slow.calls[-1:]:
            call.callback(None)
        self.assertEqual(LIMITS.alike + 2, len(self.slow.calls))
        self.slow.hanging.clear()
        self.assertIsNone(self.successResultOf(self.guard.stat(KEY)))

    def test_not_by_a_busy_medium(self) -> None:
        """Calls that wait for each other are answered too late, but they are answered."""
        self.slow.hanging = {"stat"}
        for _ in range(5):
            self.misses(lambda: self.guard.stat(KEY), LIMITS.lookup)
            self.slow.calls[-1][1].callback(None)
        self.assertEqual(self.logged, [])

    def test_not_by_cheap_failures(self) -> None:
        """A full disk says so at once, each time: that opens nothing."""
        self.memory.broken = "No space left on device"
        for _ in range(10):
            self.failureResultOf(self.guard.put(KEY, b""), StoreError)
        self.memory.broken = None
        self.successResultOf(self.guard.put(KEY, b""))

    def test_by_unavailable(self) -> None:
        """What the driver calls an outage counts as a miss."""
        self.patch(self.memory, "put", lambda *args: fail(StoreUnavailable("503")))
        for number in range(3):
            self.failureResultOf(self.guard.put(f"{KEY}{number}", b""), StoreUnavailable)
        said = str(self.failureResultOf(self.guard.create(KEY), StoreUnavailable).value)
        self.assertEqual(said, "503 (circuit breaker open)")

    def test_beginning_proves_nothing(self) -> None:
        """That a new object can be begun, perhaps elsewhere, does not outweigh failing writes."""
        self.patch(self.memory, "put", lambda *args: fail(StoreUnavailable("503")))
        self.slow.hanging = {"create"}
        for number in range(3):
            created = self.guard.create(f"{KEY}{number}")
            self.slow.calls[-1][1].callback(Closable())
            self.successResultOf(created)
            self.failureResultOf(self.guard.put(f"{KEY}{number}", b""), StoreUnavailable)
        self.failureResultOf(self.guard.create(KEY), StoreUnavailable)

    def test_directions_are_apart(self) -> None:
        """Reads that hang do not stop writes, nor writes reads."""
        self.open_reads()
        self.successResultOf(self.guard.put(KEY, b"data"))
        self.slow.hanging = {"create"}
        guard = GuardedDriver(self.slow, "/x", self.clock)
        for key in (KEY, f"{KEY}1", f"{KEY}2"):
            self.misses(partial(guard.create, key), LIMITS.begin)
        self.failureResultOf(guard.put(KEY, b""), StoreUnavailable)
        self.assertEqual(self.successResultOf(guard.get(KEY, 10)), b"data")

    def test_probes(self) -> None:
        """Probes are made in the background, one at a time, and the first that succeeds closes it."""
        self.open_reads()
        self.clock.advance(1)
        self.assertEqual(self.slow.count("check_reading"), 1)
        self.clock.advance(10)
        self.assertEqual(self.slow.count("check_reading"), 1)
        self.slow.calls[-1][1].errback(StoreError("still broken"))
        said = str(self.failureResultOf(self.guard.stat(KEY), StoreUnavailable).value)
        self.assertEqual(said, "still broken (circuit breaker open)")
        self.clock.advance(1.9)
        self.assertEqual(self.slow.count("check_reading"), 1)
        self.clock.advance(0.1)
        self.assertEqual(self.slow.count("check_reading"), 2)
        self.slow.hanging.clear()
        self.slow.calls[-1][1].callback(None)
        self.assertIsNone(self.successResultOf(self.guard.stat(KEY)))
        self.assertEqual(len(self.logged), 2)
        self.assertIn("circuit breaker closed after 13 s", self.logged[1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pauses_grow(self) -> None:
        """The pauses between probes double, up to half a minute."""
        self.open_reads()
        pauses = []
        for _ in range(7):
            began, count = self.clock.seconds(), self.slow.count("check_reading")
            while self.slow.count("check_reading") == count:
                self.clock.advance(1)
            pauses.append(self.clock.seconds() - began)
            self.slow.calls[-1][1].errback(StoreError("no"))
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 30, 30])
