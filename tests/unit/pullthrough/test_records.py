"""Records that are written in the background."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.records import RecordLimits, RecordWriter
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.storage.interfaces import StoreError


class RecordsTestCase(SynchronousTestCase):
    """A store that writes when the test lets it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.limit()
        self.begun: list[str] = []
        self.gates: dict[str, Deferred[None]] = {}
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def limit(self, **limits: Any) -> None:
        health = StoreHealth(self.clock, self.metrics)
        self.writer = RecordWriter(self.clock, health, RecordLimits(**limits))

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("oci_registry"):
            self.lines.append(formatEvent(event))

    def write(self, key: str, name: str | None = None, **options: Any) -> None:
        """Write something under a name, at a key."""
        self.writer.write(key, lambda: self.work(name or key), **options)

    async def work(self, name: str) -> None:
        self.begun.append(name)
        gate = self.gates[name] = Deferred()
        await gate

    def end(self, *names: str) -> None:
        for name in names:
            self.gates.pop(name).callback(None)

    def failures(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "oci_registry_errors_total", {"kind": "store"}
        )


class Order(RecordsTestCase):
    """What is written when."""

    def test_newest(self) -> None:
        """At one key one write is under way, and the newest of those that wait comes next."""
        for name in ("1", "2", "3", "4"):
            self.write("a", name)
        self.write("b")
        self.assertEqual(["1", "b"], self.begun)
        self.end("1")
        self.assertEqual(["1", "b", "4"], self.begun)
        self.end("4", "b")
        self.assertEqual(["1", "b", "4"], self.begun)
        self.write("a", "5")
        self.assertEqual("5", self.begun[-1])

    def test_after(self) -> None:
        """A record is written after another, whether that one waits or is under way, and if it fails."""
        self.limit(parallel=2)
        self.write("x")
        self.write("y")
        self.write("manifest", "m")
        self.write("tag", after="manifest")
        self.end("x")
        self.write("z")
        self.end("y")
        self.assertEqual(["x", "y", "m", "z"], self.begun)
        self.gates.pop("m").errback(StoreError("disk on fire"))
        self.assertEqual(["x", "y", "m", "z", "tag"], self.begun)
        self.write("other", after="nothing")
        self.end("z")
        self.assertEqual("other", self.begun[-1])

    def test_when(self) -> None:
        """A record is written only if that is wanted when its turn comes."""
        answers: list[Deferred[bool]] = [Deferred(), Deferred()]
        for name, answer in zip(("no", "yes"), answers, strict=True):
            self.write(name, when=lambda answer=answer: answer)
        for answer in answers:
            answer.callback(answer is answers[1])
        self.assertEqual(["yes"], self.begun)

    def test_discarded(self) -> None:
        """What waits at a key can be forgotten; that ends when nothing is being written there."""
        self.write("a", "1")
        self.write("a", "2")
        discarding = Deferred.fromCoroutine(self.writer.discard("a"))
        self.assertNoResult(discarding)
        self.end("1")
        self.successResultOf(discarding)
        self.assertEqual((["1"], 0), (self.begun, len(self.writer)))
        self.successResultOf(Deferred.fromCoroutine(self.writer.discard("a")))


class Bounded(RecordsTestCase):
    """A store that does not keep up."""

    def test_parallel(self) -> None:
        """So many are written at once, the others in the order in which they came."""
        self.limit(parallel=2)
        for name in "abcde":
            self.write(name)
        self.assertEqual(["a", "b"], self.begun)
        self.end("b", "a")
        self.assertEqual(["a", "b", "c", "d"], self.begun)

    def test_number(self) -> None:
        """Beyond so many the oldest is dropped, what is important last; each counts, one is logged."""
        self.limit(parallel=1, waiting=2)
        for name in ("a", "b", "c", "d", "e"):
            self.write(name, important=name == "b")
        self.assertEqual(2, self.failures())
        self.write("f", important=True)
        self.write("g", important=True)
        self.assertEqual(4, self.failures())
        self.end("a", "f", "g")
        self.assertEqual(["a", "f", "g"], self.begun)
        said = (
            "the store cannot be written, pulls go on uncached: too many records wait to be written"
        )
        self.assertEqual([said], self.lines)

    def test_size(self) -> None:
        """The same beyond so many bytes; what is replaced does not count, nor what is under way."""
        self.limit(parallel=1, waiting_size=10)
        self.write("a", size=100)
        for _ in range(5):
            self.write("b", size=4)
        self.write("c", size=6)
        self.assertEqual(0, self.failures())
        self.write("d", size=1)
        self.assertEqual(1, self.failures())
        self.end("a", "c", "d")
        self.write("e", size=11)
        self.end("e")
        self.assertEqual(1, self.failures())


class Failing(RecordsTestCase):
    """A store that fails."""

    def test_counted(self) -> None:
        """Every failure counts, the first is logged, and what comes later is written."""
        for name in "abc":
            self.write(name)
            self.gates.pop(name).errback(StoreError("disk on fire"))
        self.assertEqual(3, self.failures())
        self.assertEqual(
            ["the store cannot be written, pulls go on uncached: disk on fire"], self.lines
        )
        self.write("a")
        self.assertEqual("a", self.begun[-1])

    def test_slow(self) -> None:
        """A write that takes long counts as a failure while it continues, and is waited for."""
        self.limit(slow=30.0)
        self.write("a", "1")
        self.write("a", "2")
        self.clock.advance(29)
        self.assertEqual(0, self.failures())
        self.clock.advance(1)
        self.assertEqual(1, self.failures())
        self.assertEqual(["1"], self.begun)
        self.end("1", "2")
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_crash(self) -> None:
        """A defect of ours is logged, and the next record is written."""
        self.write("a", "1")
        self.write("a", "2")
        self.gates.pop("1").errback(ZeroDivisionError("oops"))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(["1", "2"], self.begun)


class Lost(RecordsTestCase):
    """Records that were not written."""

    def setUp(self) -> None:
        super().setUp()
        self.limit(again=10.0)

    def states(self, key: str = "a") -> tuple[bool, bool]:
        return self.writer.is_lost(key), self.writer.may_repeat(key)

    def lose(self, key: str = "a") -> None:
        self.write(key)
        self.gates.pop(key).errback(StoreError("disk on fire"))

    def test_repeated(self) -> None:
        """A record that could not be written may be written again after a while, unless it already is."""
        self.write("a")
        self.assertEqual((False, False), self.states())
        self.gates.pop("a").errback(StoreError("disk on fire"))
        self.assertEqual((True, False), self.states())
        self.clock.advance(10)
        self.assertEqual((True, True), self.states())
        self.write("a")
        self.assertEqual((True, False), self.states())
        self.end("a")
        self.assertEqual((False, False), self.states())

    def test_fails_again(self) -> None:
        """Each failure begins that time again."""
        self.lose()
        self.clock.advance(10)
        self.lose()
        self.assertEqual((True, False), self.states())
        self.clock.advance(10)
        self.assertEqual((True, True), self.states())

    def test_dropped(self) -> None:
        """A record that was dropped is lost, and while another one waits it is not repeated."""
        self.limit(parallel=1, waiting=1, again=10.0)
        for key in "abc":
            self.write(key)
        self.assertEqual((True, False), self.states("b"))
        self.clock.advance(10)
        self.assertEqual((True, True), self.states("b"))
        self.write("b")
        self.assertEqual((True, False), self.states("b"))

    def test_crash(self) -> None:
        """What a defect of ours has prevented is lost too."""
        self.write("a")
        self.gates.pop("a").errback(ZeroDivisionError("oops"))
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual((True, False), self.states())

    def test_discarded(self) -> None:
        """What was removed on purpose is not lost, whether it has failed before or fails then."""
        self.lose()
        self.successResultOf(Deferred.fromCoroutine(self.writer.discard("a")))
        self.assertFalse(self.writer.is_lost("a"))
        self.write("a")
        discarding = Deferred.fromCoroutine(self.writer.discard("a"))
        self.gates.pop("a").errback(StoreError("disk on fire"))
        self.successResultOf(discarding)
        self.assertFalse(self.writer.is_lost("a"))

    def test_bounded(self) -> None:
        """So many are remembered."""
        self.limit(lost=2)
        for key in "abc":
            self.lose(key)
        self.assertEqual([False, True, True], [self.writer.is_lost(key) for key in "abc"])


class Stopping(RecordsTestCase):
    """The daemon ends."""

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.writer.stop())

    def test_idle(self) -> None:
        """Where nothing is written there is nothing to wait for, and nothing more is accepted."""
        self.successResultOf(self.stop())
        self.write("a")
        self.assertEqual([], self.begun)

    def test_waits(self) -> None:
        """What is being written and what waits is waited for."""
        self.limit(parallel=1)
        self.write("a")
        self.write("b")
        stopped = self.stop()
        self.end("a")
        self.assertNoResult(stopped)
        self.end("b")
        self.successResultOf(stopped)
        self.assertEqual(([], []), (self.lines, self.clock.getDelayedCalls()))

    def test_hanging(self) -> None:
        """A store that hangs is given up after a while, in one line, and nothing more is begun."""
        self.limit(parallel=2, stopping=10.0)
        for name in "abcde":
            self.write(name)
        stopped = self.stop()
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        said = "gave up on 5 records that the store did not write within 10 s"
        self.assertEqual([said], self.lines)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.end("a")
        self.assertEqual(["a", "b"], self.begun)
