"""Probes, listings, appends and housekeeping that never return do not stop the daemon."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from oci_registry.storage.guard import GuardedDriver, LostThreads
from oci_registry.storage.interfaces import ObjectInfo, StoreError, StoreUnavailable
from tests.unit.storage.test_guard import KEY, LIMITS, GuardTestCase


async def listed(guard: GuardedDriver) -> list[str]:
    """Return the keys of a listing."""
    return [info.key async for info in guard.list("blobs")]


class Probes(GuardTestCase):
    """Probes of a store that hangs."""

    def setUp(self) -> None:
        super().setUp()
        self.lost: list[Deferred[None]] = []
        lost = LostThreads(read_probe=self.lost.append)
        self.guard = GuardedDriver(self.slow, "/x", self.clock, lost=lost)

    def test_never_returns(self) -> None:
        """A probe that does not return is given up, its thread replaced, and the next one decides."""
        self.open_reads()
        self.clock.advance(1)
        self.assertEqual(1, self.slow.count("check_reading"))
        self.clock.advance(LIMITS.probe)
        self.assertEqual(1, len(self.lost))
        self.slow.hanging.clear()
        self.clock.advance(1.9)
        self.failureResultOf(self.guard.stat(KEY), StoreUnavailable)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(self.guard.stat(KEY)))
        self.assertIn("circuit breaker closed", self.logged[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_returns_late(self) -> None:
        """The thread of a probe that returns late, or fails late, is replaced no longer."""
        for late in ("callback", "errback"):
            self.guard = GuardedDriver(
                self.slow, "/x", self.clock, lost=LostThreads(read_probe=self.lost.append)
            )
            self.open_reads()
            self.clock.advance(1)
            self.clock.advance(LIMITS.probe)
            returned = self.lost.pop()
            self.assertNoResult(returned)
            getattr(self.slow.calls[-1][1], late)(StoreError("late") if late == "errback" else None)
            self.successResultOf(returned)
            self.guard.stop()

    def test_fails_in_time(self) -> None:
        """A probe that fails has not lost its thread."""
        self.open_reads()
        self.clock.advance(1)
        self.slow.calls[-1][1].errback(StoreError("broken"))
        self.assertEqual([], self.lost)
        self.guard.stop()


class Listings(GuardTestCase):
    """Listings of a store that hangs."""

    def setUp(self) -> None:
        super().setUp()
        self.pages: list[Deferred[Any]] = []
        self.patch(self.memory, "list", self.list)

    async def list(self, prefix: str) -> Any:
        """Yield an object for each page that the test gives."""
        while True:
            self.pages.append(Deferred())
            key, _ = await self.pages[-1]
            if key is None:
                return
            yield ObjectInfo(key, 1, 0.0, True)

    def test_hanging(self) -> None:
        """A step that does not come ends the listing with an error; each step has its own deadline."""
        listing = Deferred.fromCoroutine(listed(self.guard))
        for key in ("a", "b"):
            self.clock.advance(LIMITS.listing - 1)
            self.pages[-1].callback((key, None))
        self.assertNoResult(listing)
        self.clock.advance(LIMITS.listing)
        error = self.failureResultOf(listing, StoreUnavailable).value
        self.assertEqual("the store at /x did not answer within 60 s (read)", str(error))
        self.pages[-1].callback(("late", None))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_complete(self) -> None:
        """A listing whose steps come in time is complete, and a failure is reported as it is."""
        listing = Deferred.fromCoroutine(listed(self.guard))
        for key in ("a", "b", None):
            self.pages[-1].callback((key, None))
        self.assertEqual(["a", "b"], self.successResultOf(listing))
        failing = Deferred.fromCoroutine(listed(self.guard))
        self.pages[-1].errback(StoreError("I/O error"))
        self.failureResultOf(failing, StoreError)

    def test_circuit_open(self) -> None:
        """A store that hangs is not listed."""
        self.open_reads()
        self.failureResultOf(Deferred.fromCoroutine(listed(self.guard)), StoreUnavailable)
        self.assertEqual([], self.pages)
        self.guard.stop()


class Writer:
    """A writer whose appends are noted."""

    def __init__(self) -> None:
        self.appended: list[bytes] = []
        self.returned: list[Deferred[None]] = []

    def append(self, data: bytes) -> None:
        """Note it."""
        self.appended.append(data)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Nothing is at hand."""
        return None

    def can_send(self, offset: int) -> bool:
        """Nothing can be sent."""
        return False

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Nothing is sent."""
        return 0

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        """Note it."""
        self.returned.append(returned)
        return StoreError("unused")

    def close(self) -> None:
        """Nothing is held."""


class Appends(GuardTestCase):
    """Appends that hang."""

    def setUp(self) -> None:
        super().setUp()
        self.lost: list[Deferred[None]] = []
        lost = LostThreads(append=self.lost.append)
        self.guard = GuardedDriver(self.slow, "/x", self.clock, lost=lost)
        self.writer = Writer()
        self.patch(self.memory, "create", lambda *_: succeed(self.writer))
        self.guarded: Any = self.successResultOf(self.guard.create(KEY))

    def hang(self) -> Deferred[None]:
        """Report an append that hangs; return what fires when it returns."""
        returned: Deferred[None] = Deferred()
        error = self.guarded.append_hangs(10.0, returned)
        self.assertIsInstance(error, StoreUnavailable)
        self.assertEqual("the store at /x did not append within 10 s (write)", str(error))
        return returned

    def test_counted(self) -> None:
        """Appends that hang open the circuit breaker of the writes, with one line in the log."""
        hanging = [self.hang() for _ in range(3)]
        self.assertEqual((hanging, hanging), (self.writer.returned, self.lost))
        self.failureResultOf(self.guard.put(KEY, b""), StoreUnavailable)
        self.assertIsNone(self.successResultOf(self.guard.stat(KEY)))
        self.assertEqual(1, len(self.logged))
        self.assertIn("circuit breaker open for writes", self.logged[0])
        self.clock.advance(1)
        self.successResultOf(self.guard.put(KEY, b""))

    def test_no_more(self) -> None:
        """While several hang nothing is appended, so that the others keep their threads."""
        hanging = [self.hang() for _ in range(LIMITS.hanging)]
        error = self.assertRaises(StoreUnavailable, self.guarded.append, b"x")
        self.assertEqual("4 appends to the store hang", str(error))
        hanging[0].callback(None)
        self.guarded.append(b"y")
        self.assertEqual([b"y"], self.writer.appended)
        self.guard.stop()


class Housekeeping(GuardTestCase):
    """What no client waits for."""

    def test_every_call(self) -> None:
        """A call that hangs fails at last, so that the sweep ends; the start is logged earlier."""
        calls: dict[str, tuple[Any, float]] = {
            "touch": (lambda g: g.touch(KEY, 0.0), LIMITS.housekeeping),
            "seal": (lambda g: g.seal(KEY), LIMITS.housekeeping),
            "delete": (lambda g: g.delete(KEY), LIMITS.housekeeping),
            "delete_many": (lambda g: g.delete_many([KEY]), LIMITS.housekeeping),
            "begin_sweep": (lambda g: g.begin_sweep(0.0), LIMITS.housekeeping),
            "start": (lambda g: g.start(), LIMITS.start),
            "space": (lambda g: g.space(), LIMITS.lookup),
        }
        for name, (call, seconds) in calls.items():
            self.slow.hanging = {name}
            guard = GuardedDriver(self.slow, "/x", self.clock)
            self.misses(lambda call=call, guard=guard: call(guard), seconds)
