"""A growing blob under pressure: flow control, memory, and a store that fails."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.batches import BATCH, FIRST, FLUSH_DELAY
from oci_registry.streams.follower import LostPlace, TransferFailed
from oci_registry.streams.growing import GrowingBlob
from tests.support.patterns import noise
from tests.support.streams import LIMITS, FakeFile, FakeProducer, ManualThread, Reader, run_at_once

MIB = 1024 * 1024
STEP = 64 * 1024
DATA = noise(4, 16 * MIB)
DIGEST = Digest.of(DATA)


class PressureTestCase(SynchronousTestCase):
    """A blob of 16 MiB whose upstream does as it is told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.thread = ManualThread()
        self.file = FakeFile()

    def make(self, *, threaded: bool = False, stored: bool = True) -> GrowingBlob:
        """Return the blob, hashed at once or when `thread` gets to it."""
        run = self.thread if threaded else run_at_once
        blob = GrowingBlob(DIGEST, len(DATA), self.file if stored else None, run, self.clock)
        self.producer = FakeProducer(blob)
        blob.registerProducer(self.producer, True)
        return blob

    def send(self, blob: GrowingBlob, upto: int = len(DATA)) -> None:
        """Send until all is sent or upstream is paused or stopped."""
        while blob.received < upto and not (self.producer.paused or self.producer.stopped):
            blob.write(DATA[blob.received : min(upto, blob.received + STEP)])

    def held(self, blob: GrowingBlob) -> int:
        """Count the bytes that the blob keeps in memory."""
        batches = blob._batches
        in_thread = blob.received - blob.bytes.digested - batches._pending_bytes
        return sum(map(len, [*batches._pending, *blob.bytes._window._batches])) + in_thread

    def check(self, reader: Reader) -> None:
        """Read to the end: it was all there."""
        reader.read()
        self.assertIsNone(reader.error)
        self.assertTrue(reader.ended)
        self.assertTrue(reader.got == DATA)


class SlowDisk(PressureTestCase):
    """A thread that falls behind."""

    def test_marks(self) -> None:
        """Upstream is paused when more than 2 MiB wait, and resumed when half of that is left."""
        blob = self.make(threaded=True)
        self.send(blob)
        self.assertEqual(blob.received, LIMITS.high_water + STEP)
        while self.producer.paused:
            waiting = blob.received - blob.bytes.digested
            self.assertGreater(waiting, LIMITS.high_water // 2)
            self.thread.step()
        self.assertLessEqual(blob.received - blob.bytes.digested, LIMITS.high_water // 2)
        self.assertEqual(self.producer.calls, ["pause", "resume"])

    def test_one_batch_at_a_time(self) -> None:
        """The thread gets batches, one after the other: the hash needs them in order."""
        blob = self.make(threaded=True)
        self.send(blob)
        self.assertEqual(len(self.thread.waiting), 1)
        self.thread.step()
        self.assertEqual((blob.bytes.digested, len(self.thread.waiting)), (FIRST, 1))
        self.thread.step()
        self.assertEqual(blob.bytes.digested, FIRST + BATCH)

    def test_paused_when_registered_late(self) -> None:
        """A second upstream, after a first that broke off, is held to the same marks."""
        blob = self.make(threaded=True)
        self.send(blob)
        blob.unregisterProducer()
        second = FakeProducer(blob)
        blob.registerProducer(second, True)
        self.assertEqual(second.calls, ["pause"])
        self.thread.run()
        self.assertEqual(second.calls, ["pause", "resume"])

    def test_memory(self) -> None:
        """However far its reader is behind, a blob holds little more than the two marks in memory."""
        blob = self.make(threaded=True)
        reader = Reader(blob.follow())
        reader.read(1)
        most = 0
        while blob.received < len(DATA):
            self.send(blob)
            most = max(most, self.held(blob))
            self.thread.step()
            most = max(most, self.held(blob))
        self.assertLessEqual(most, LIMITS.high_water + STEP + LIMITS.window + BATCH)
        self.thread.run()
        finished = blob.finish()
        self.thread.run()
        self.assertTrue(self.successResultOf(finished))
        self.assertLessEqual(self.held(blob), LIMITS.window)
        self.check(reader)
        blob.release()
        reader.source.close()
        self.assertEqual(self.held(blob), 0)

    def test_trickle(self) -> None:
        """Less than a batch is handed on after 10 ms, and many little pieces become few."""
        blob = self.make()
        reader = Reader(blob.follow())
        for position in range(2000):
            blob.write(DATA[position : position + 1])
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(FLUSH_DELAY)
            self.assertEqual(blob.bytes.digested, position + 1)
        self.assertEqual(len(blob.bytes._window._batches), 1)
        self.assertEqual(reader.read(), DATA[:2000])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_scheduled_at_the_end(self) -> None:
        """The last bytes of a blob wait for nothing but the thread."""
        blob = self.make()
        self.send(blob)
        blob.write(b"")
        self.assertTrue(self.successResultOf(blob.finish()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FailingStore(PressureTestCase):
    """A file that cannot be written from some byte on, or from the first."""

    def complete(self, blob: GrowingBlob, *readers: Reader) -> None:
        """Send the rest with readers that keep pace."""
        for _ in range(20):
            self.send(blob)
            self.clock.advance(FLUSH_DELAY)
            for reader in readers:
                reader.read()
        self.assertEqual(blob.received, len(DATA))
        self.assertTrue(self.successResultOf(blob.finish()))
        for reader in readers:
            self.check(reader)

    def test_never_stored(self) -> None:
        """Without a file at all, the blob reaches those who read it."""
        blob = self.make(stored=False)
        self.complete(blob, *(Reader(blob.follow()) for _ in range(3)))

    def test_full_disk(self) -> None:
        """When the disk is full, readers ahead, at its edge and far behind all get the whole blob."""
        self.file.full_at = 5 * MIB + 1000
        blob = self.make()
        ahead, behind = Reader(blob.follow()), Reader(blob.follow(), STEP)
        behind.read(1)
        while blob.store_error is None:
            self.send(blob, blob.received + STEP)
            ahead.read()
        edge = Reader(blob.follow())
        self.assertIsInstance(blob.store_error, OSError)
        self.assertEqual(blob.bytes.stored, 3 * FIRST + 4 * BATCH)
        self.complete(blob, ahead, behind, edge)

    def test_pace_of_the_slowest(self) -> None:
        """Without a file, upstream keeps the pace of the slowest reader, within 4 MiB."""
        blob = self.make(stored=False)
        fast, slow = Reader(blob.follow()), Reader(blob.follow(), STEP)
        for _ in range(60):
            self.send(blob)
            fast.read()
            self.assertLessEqual(self.held(blob), LIMITS.unstored_window + STEP)
            self.assertLessEqual(blob.received - len(slow.got), LIMITS.unstored_window + STEP)
            slow.read(1)
        self.assertEqual(len(slow.got), 60 * STEP)
        self.complete(blob, fast, slow)

    def test_stalled_reader_is_dropped(self) -> None:
        """Without a file, a reader who delays another is dropped, and the other gets everything."""
        blob = self.make(stored=False)
        fast, stalled = Reader(blob.follow()), Reader(blob.follow())
        stalled.read(1)
        self.send(blob)
        self.clock.advance(FLUSH_DELAY)
        fast.read()
        self.assertTrue(self.producer.paused)
        self.clock.advance(LIMITS.stall - 0.1)
        self.assertTrue(self.producer.paused)
        self.clock.advance(0.1)
        self.assertFalse(self.producer.paused)
        stalled.read()
        self.assertIsInstance(stalled.error, LostPlace)
        self.complete(blob, fast)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_reader_alone_is_not_dropped(self) -> None:
        """Without a file, a reader who delays nobody but itself may take its time."""
        blob = self.make(stored=False)
        slow = Reader(blob.follow(), STEP)
        while blob.received < len(DATA):
            self.send(blob)
            slow.read(1)
            self.clock.advance(LIMITS.stall)
        self.complete(blob, slow)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stall_ends_with_upstream(self) -> None:
        """When upstream has sent everything, nobody is delayed any more, and nobody is dropped."""
        blob = self.make(stored=False)
        fast, slow = Reader(blob.follow()), Reader(blob.follow())
        slow.read(1)
        self.send(blob)
        self.clock.advance(FLUSH_DELAY)
        fast.read()
        self.assertTrue(self.producer.paused)
        blob.unregisterProducer()
        self.clock.advance(2 * LIMITS.stall)
        self.producer.paused = False
        self.complete(blob, fast, slow)

    def test_late_reader(self) -> None:
        """Without a file, who comes when the first bytes are gone is told so beforehand."""
        blob = self.make(stored=False)
        first = Reader(blob.follow())
        self.send(blob, BATCH)
        self.assertTrue(blob.can_follow(0))
        first.read()
        self.send(blob, 2 * BATCH)
        self.assertFalse(blob.can_follow(0))
        late = Reader(blob.follow())
        late.read()
        self.assertIsInstance(late.error, LostPlace)
        late.source.close()
        self.complete(blob, first)

    def test_nobody_left(self) -> None:
        """What can be neither stored nor read by anyone is not downloaded any further."""
        self.file.full_at = MIB
        for leave_before in (True, False):
            self.file.data.clear()
            blob = self.make()
            reader = Reader(blob.follow())
            self.send(blob, MIB)
            if leave_before:
                reader.source.close()
                self.assertFalse(self.producer.stopped)
                self.send(blob)
            else:
                self.send(blob, 2 * MIB)
                self.assertFalse(self.producer.stopped)
                reader.source.close()
            self.assertTrue(self.producer.stopped)
            self.assertIsNotNone(blob.failure)
            self.assertFalse(self.successResultOf(blob.finish()))
            blob.release()
            self.assertTrue(self.file.closed)
            self.file.closed = False

    def test_stays_readable_to_the_end(self) -> None:
        """Without a file, whoever still reads when the transfer is over reads to the end."""
        self.file.full_at = 14 * MIB
        blob = self.make()
        slow = Reader(blob.follow(), STEP)
        self.send(blob)
        blob.unregisterProducer()
        self.assertTrue(self.successResultOf(blob.finish()))
        blob.release()
        self.assertFalse(self.file.closed)
        self.check(slow)
        slow.source.close()
        self.assertTrue(self.file.closed)
        self.assertEqual(self.held(blob), 0)

    def test_wrong_and_unstored(self) -> None:
        """Without a file, the tail of a wrong blob is held back as ever."""
        blob = GrowingBlob(DIGEST, len(DATA), None, run_at_once, self.clock)
        reader = Reader(blob.follow())
        for start in range(0, len(DATA), STEP):
            blob.write(DATA[start : start + STEP - 1] + b"!")
            reader.read()
        self.assertFalse(self.successResultOf(blob.finish()))
        blob.fail(blob.wrong)
        reader.read()
        self.assertIsInstance(reader.error, TransferFailed)
        self.assertEqual(len(reader.got), len(DATA) - LIMITS.tail)

    def test_marks_are_in_order(self) -> None:
        """The figures fit together: a tail and a batch in the window, a window in the unstored one."""
        self.assertTrue(
            LIMITS.tail < BATCH < LIMITS.window < LIMITS.high_water < LIMITS.unstored_window
        )
