"""A download whose file hangs continues without it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.appending import RecordInTime
from oci_registry.streams.batches import FLUSH_DELAY
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.limits import GrowingLimits
from oci_registry.streams.recorder import Batch, Recorder
from tests.support.streams import FakeFile, FakeProducer, ManualThread, Reader

SECONDS = 10.0


class HangingFile(FakeFile):
    """A file whose next append takes so many seconds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.takes = 0.0

    def append(self, data: bytes) -> None:
        """Let the time pass while the thread is here."""
        takes, self.takes = self.takes, 0.0
        self.clock.advance(takes)
        super().append(data)


class Recording(SynchronousTestCase):
    """One call of a recorder."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.thread = ManualThread()
        self.file = HangingFile(self.clock)
        self.recorder = Recorder(Digest.of(b"onetwo"), self.file, None)
        self.record = RecordInTime(self.recorder, self.thread, self.clock, SECONDS)

    def test_in_time(self) -> None:
        """What is stored in time leaves no timer behind."""
        batch = self.record([b"one"])
        self.file.takes = SECONDS - 1
        self.thread.step()
        self.assertIsNone(self.successResultOf(batch).error)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_hanging(self) -> None:
        """After the deadline the hashed bytes go on with an error; what the thread does then is ignored."""
        answers: list[tuple[Batch, bytes]] = []
        work = self.record([b"one"])
        work.addCallback(lambda batch: answers.append((batch, bytes(self.file.data))))
        self.file.takes = SECONDS
        self.thread.step()
        ((batch, stored),) = answers
        self.assertEqual((b"one", 3, b""), (b"".join(batch.pieces), batch.seen.length, stored))
        self.assertIn("after 10 s", str(batch.error))
        self.successResultOf(self.file.hanging)
        self.assertEqual(([], b"one"), (self.clock.getDelayedCalls(), bytes(self.file.data)))
        again = self.record([b"two"])
        self.thread.step()
        self.assertIsNone(self.successResultOf(again).error)
        self.assertEqual(b"one", bytes(self.file.data))
        self.assertTrue(self.recorder.verified())

    def test_hanging_and_failing(self) -> None:
        """An append that fails after the deadline is ignored as well."""
        work = self.record([b"one"])
        self.file.takes, self.file.full_at = SECONDS, 1
        self.thread.step()
        self.assertIn("timed out", str(self.successResultOf(work).error))
        self.assertEqual([], self.flushLoggedErrors())

    def test_no_thread(self) -> None:
        """A call that waits for a thread has not begun to append: it continues to wait."""
        batch = self.record([b"one"])
        self.clock.advance(3 * SECONDS)
        self.assertNoResult(batch)
        self.thread.step()
        self.assertIsNone(self.successResultOf(batch).error)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_crash(self) -> None:
        """A call that crashes is reported."""
        batch = self.record([None])  # type: ignore[list-item]
        self.thread.step()
        self.failureResultOf(batch, TypeError)
        self.assertEqual([], self.clock.getDelayedCalls())


class Download(SynchronousTestCase):
    """A growing blob on a file that hangs."""

    def test_continues(self) -> None:
        """A reader gets all bytes, the failure is reported once, and the file stays open meanwhile."""
        data = bytes(range(200))
        clock, thread = Clock(), ManualThread()
        file, failures = HangingFile(clock), list[Exception]()
        limits = GrowingLimits(tail=5, batch=50, window=50, append=SECONDS)
        blob = GrowingBlob(
            Digest.of(data), 200, file, thread, clock, failures.append, limits=limits
        )
        blob.registerProducer(FakeProducer(blob), True)
        reader = Reader(blob.follow())
        blob.write(data[:50])
        thread.run()
        file.takes = SECONDS
        blob.write(data[50:100])
        thread.run()
        self.assertEqual(1, len(failures))
        self.assertEqual(failures[0], blob.store_error)
        blob.write(data[100:])
        blob.unregisterProducer()
        finished: Deferred[bool] = blob.finish()
        while not finished.called:
            clock.advance(FLUSH_DELAY)
            thread.run()
            reader.read()
        self.assertTrue(self.successResultOf(finished))
        reader.read()
        self.assertEqual((True, True), (reader.got == data, reader.ended))
        self.assertEqual(data[:100], bytes(file.data))
        reader.source.close()
        blob.release()
        self.assertTrue(file.closed)
        self.assertEqual([], clock.getDelayedCalls())
