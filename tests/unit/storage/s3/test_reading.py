"""How long an answer may take, and when a request is made again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.failures import Absent, BrokenOff, Busy
from oci_registry.storage.drivers.s3.limits import ReadLimits
from oci_registry.storage.drivers.s3.reading import ReadHistory, Retries, read_body
from oci_registry.storage.interfaces import StoreError, StoreUnavailable

LIMITS = ReadLimits(
    deadline=100.0, least_rate=1000, rate_window=5.0, attempts=4, pause=1.0, patience=30.0
)


class ReadingTestCase(SynchronousTestCase):
    """Time goes by when a test, or a fake server, says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.closed = 0
        self.retries = Retries(LIMITS, self.clock.seconds, self.clock.advance)

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def body(self, *blocks: bytes | Exception, seconds: float = 0.0) -> Any:
        """Return the body of a response whose blocks take so long each."""
        coming = iter(blocks)

        def read1(count: int) -> bytes:
            self.clock.advance(seconds)
            block = next(coming, b"")
            if isinstance(block, Exception):
                raise block
            assert len(block) <= count
            return block

        return SimpleNamespace(_raw_stream=SimpleNamespace(read1=read1), close=self.close)


class Bodies(ReadingTestCase):
    """The bytes of an answer."""

    def read(self, body: Any, count: int, deadline: float | None = None) -> bytes:
        """Read a body."""
        return read_body(body, count, self.retries.pace(deadline), "bucket b")

    def test_whole(self) -> None:
        """Blocks of any size are put together, and the body is closed; nothing is read of an empty one."""
        self.assertEqual(b"abcdef", self.read(self.body(b"a", b"bcd", b"ef"), 6))
        self.assertEqual(b"", self.read(self.body(), 0))
        self.assertEqual(2, self.closed)

    def test_broken_off(self) -> None:
        """A body that ends early, or whose connection breaks, is broken off."""
        for body in (self.body(b"abc"), self.body(b"abc", OSError("reset"))):
            self.assertRaises(BrokenOff, self.read, body, 6)
        self.assertEqual(2, self.closed)

    def test_trickle(self) -> None:
        """A body that comes more slowly than the least rate is given up after the window."""
        error = self.assertRaises(
            StoreUnavailable, self.read, self.body(*[b"x" * 900] * 50, seconds=1.0), 45_000
        )
        self.assertIn("too slowly", str(error))
        self.assertEqual((5.0, 1), (self.clock.seconds(), self.closed))

    def test_becomes_slow(self) -> None:
        """What has come fast before does not count."""
        blocks = [b"x" * 100_000] * 5 + [b"x" * 10] * 50
        self.assertRaises(StoreUnavailable, self.read, self.body(*blocks, seconds=1.0), 500_500)
        self.assertEqual(10.0, self.clock.seconds())

    def test_deadline(self) -> None:
        """One that is fast enough must be whole by the deadline nevertheless."""
        body = self.body(*[b"x" * 2000] * 50, seconds=1.0)
        self.assertRaises(StoreUnavailable, self.read, body, 100_000, 12.0)
        self.assertEqual(12.0, self.clock.seconds())

    def test_slow_enough(self) -> None:
        """One just above the least rate is read to its end."""
        body = self.body(*[b"x" * 1000] * 50, seconds=1.0)
        self.assertEqual(50_000, len(self.read(body, 50_000)))


class Again(ReadingTestCase):
    """Calls that are made again."""

    def attempts(self, *errors: StoreError, seconds: float = 0.0) -> int:
        """Make a call that fails with each of the errors, then works; return how often it was made."""
        coming = iter(errors)
        made = 0

        def call() -> None:
            nonlocal made
            made += 1
            self.clock.advance(seconds)
            for error in coming:
                raise error

        try:
            self.retries.run(call)
        except StoreError as error:
            self.assertIn(error, errors)
            return -made
        return made

    def test_busy(self) -> None:
        """A server that cannot cope is asked a few times, with pauses that grow."""
        self.assertEqual(4, self.attempts(*[Busy("slow down")] * 3))
        self.assertTrue(3.5 <= self.clock.seconds() <= 7.0)
        self.assertEqual(-4, self.attempts(*[Busy("slow down")] * 9))

    def test_broken_off(self) -> None:
        """One that breaks off, or cannot be reached, is asked once more at once."""
        for kind in (BrokenOff, StoreUnavailable):
            self.assertEqual(2, self.attempts(kind("reset")))
            self.assertEqual(-2, self.attempts(*[kind("reset")] * 5))
        self.assertEqual(0.0, self.clock.seconds())

    def test_patience(self) -> None:
        """When it has taken too long already, it is not asked again."""
        self.assertEqual(-1, self.attempts(StoreUnavailable("timeout"), seconds=31.0))

    def test_refused(self) -> None:
        """What is refused or absent is not asked for again."""
        for error in (StoreError("denied"), Absent("no such key")):
            self.assertEqual(-1, self.attempts(error))


class History(ReadingTestCase):
    """What is known of earlier reads."""

    def test_failed_and_worked(self) -> None:
        """A failure counts for a while and undoes earlier successes; what is absent is no failure."""
        history = ReadHistory(self.clock.seconds)
        self.assertFalse(history.failed_within(60) or history.succeeded_within(60))
        history.record_success()
        history.record_failure(Failure(Absent("key")))
        self.assertEqual((False, True), (history.failed_within(60), history.succeeded_within(60)))
        history.record_failure(Failure(StoreError("down")))
        self.assertEqual((True, False), (history.failed_within(60), history.succeeded_within(60)))
        self.clock.advance(60)
        history.record_success()
        self.assertEqual((False, True), (history.failed_within(60), history.succeeded_within(60)))
