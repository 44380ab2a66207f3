"""Bytes that go through a thread in batches."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.batches import BATCH, FIRST, FLUSH_DELAY, Batches
from oci_registry.streams.recorder import Batch, Recorder
from tests.support.streams import ManualThread

HALF = bytes(FIRST // 2)


class Batching(SynchronousTestCase):
    """A thread that is moved by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.thread = ManualThread()
        self.accepted: list[int] = []
        self.rests: list[Failure | None] = []
        self.hold: Deferred[None] | None = None
        self.batches = self.make(FIRST)

    def make(self, batch: int) -> Batches:
        recorder = Recorder(Digest.of(b""), None, None)
        return Batches(
            lambda chunks: self.thread(recorder.record, chunks),
            self.clock,
            self.accept,
            self.rests.append,
            batch,
        )

    async def accept(self, batch: Batch) -> None:
        if self.hold is not None:
            await self.hold
        self.accepted.append(batch.length)

    def test_whole_batches(self) -> None:
        """As soon as there is a batch it goes to the thread, and the next one after it."""
        self.batches.add(HALF)
        self.assertFalse(self.batches.working)
        for _ in range(4):
            self.batches.add(HALF)
        self.assertEqual(len(self.thread.waiting), 1)
        self.thread.step()
        self.assertEqual((self.accepted, len(self.thread.waiting)), ([FIRST], 1))
        self.thread.step()
        self.assertEqual(self.accepted, [FIRST, FIRST])
        self.assertFalse(self.batches.working)
        self.clock.advance(FLUSH_DELAY)
        self.thread.run()
        self.assertEqual(self.accepted, [FIRST, FIRST, FIRST // 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_growing_batches(self) -> None:
        """Nobody waits long for the first bytes; later ones go through the thread in larger batches."""
        batches = self.make(BATCH)
        whole = -(-BATCH // len(HALF)) * len(HALF)
        for _ in range((3 * FIRST + 2 * whole) // len(HALF)):
            batches.add(HALF)
            self.thread.run()
        self.assertEqual([FIRST, 2 * FIRST, whole, whole], self.accepted)

    def test_end(self) -> None:
        """At the end nothing waits for more; it is told when everything is through."""
        self.batches.add(b"x")
        self.batches.end()
        self.assertEqual((self.rests, self.clock.getDelayedCalls()), ([], []))
        self.thread.run()
        self.assertEqual((self.accepted, self.rests), ([1], [None]))

    def test_end_of_nothing(self) -> None:
        """With nothing on its way the end is told at once."""
        self.batches.end()
        self.assertEqual(self.rests, [None])

    def test_accepting_takes_time(self) -> None:
        """The next batch waits until the last one is accepted."""
        self.hold = Deferred()
        for _ in range(4):
            self.batches.add(HALF)
        self.thread.run()
        self.assertEqual((self.accepted, len(self.thread.waiting)), ([], 0))
        self.assertTrue(self.batches.working)
        self.hold.callback(None)
        self.thread.run()
        self.assertEqual(self.accepted, [FIRST, FIRST])

    def test_stop(self) -> None:
        """What waits when it is stopped never comes; what is in the thread does."""
        for _ in range(3):
            self.batches.add(HALF)
        self.batches.stop()
        self.thread.run()
        self.assertEqual((self.accepted, self.rests), ([FIRST], [None]))
        self.batches.add(b"x")
        self.batches.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_crash(self) -> None:
        """A crash in the thread is told of, and nothing is done any more."""
        self.patch(Recorder, "record", lambda *_: 1 / 0)
        self.setUp()
        for _ in range(5):
            self.batches.add(HALF)
        self.thread.run()
        ((crashed,), self.rests) = self.rests, []
        assert crashed is not None
        crashed.trap(ZeroDivisionError)
        self.assertEqual((self.accepted, self.clock.getDelayedCalls()), ([], []))
