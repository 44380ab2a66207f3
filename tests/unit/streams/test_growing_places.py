"""Readers that lose their place in a growing blob, and what they take along."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest, Prefix
from oci_registry.streams.batches import BATCH, FIRST, FLUSH_DELAY
from oci_registry.streams.follower import LostPlace, TransferFailed
from oci_registry.streams.growing import GrowingBlob, Unwanted
from tests.support.patterns import noise
from tests.support.streams import LIMITS, FakeFile, FakeProducer, ManualThread, Reader, run_at_once

MIB = 1024 * 1024
STEP = 64 * 1024
DATA = noise(6, 12 * MIB)


class PlacesTestCase(SynchronousTestCase):
    """A blob of 12 MiB."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.file = FakeFile()
        self.said: list[Exception] = []

    def make(self, *, stored: bool = True, had: Prefix | None = None) -> GrowingBlob:
        """Return the blob."""
        file = self.file if stored else None
        blob = GrowingBlob(
            Digest.of(DATA), len(DATA), file, run_at_once, self.clock, self.said.append, had
        )
        self.producer = FakeProducer(blob)
        blob.registerProducer(self.producer, True)
        return blob

    def send(self, blob: GrowingBlob, upto: int = len(DATA)) -> None:
        """Send until all is sent or upstream is paused or stopped."""
        while blob.received < upto and not (self.producer.paused or self.producer.stopped):
            blob.write(DATA[blob.received : min(upto, blob.received + STEP)])
        self.clock.advance(FLUSH_DELAY)

    def lost(self, reader: Reader, had: int | None) -> LostPlace:
        """Return the error of a reader that has lost its place; it takes along that many bytes."""
        reader.read()
        error = reader.error
        assert isinstance(error, LostPlace)
        if had is None:
            self.assertIsNone(error.had)
        else:
            self.assertEqual(error.had, Prefix(had, Digest.of(DATA[:had])))
        return error

    def check(self, reader: Reader, start: int = 0) -> None:
        """Read to the end: it was all there."""
        reader.read()
        self.assertIsNone(reader.error)
        self.assertTrue(reader.ended)
        self.assertTrue(reader.got == DATA[start:])


class Lost(PlacesTestCase):
    """A store that fails while somebody needs it."""

    def test_unreadable_file(self) -> None:
        """A file that cannot be read costs those their place who need it, and nobody else anything."""
        blob = self.make()
        behind, far_behind = Reader(blob.follow(), STEP), Reader(blob.follow(5))
        ahead = Reader(blob.follow())
        behind.read(1)
        while blob.received < 4 * MIB:
            self.send(blob, blob.received + STEP)
            ahead.read()
        self.file.broken_at = STEP
        cause = self.lost(behind, 4 * MIB).cause
        self.assertIsInstance(cause, OSError)
        self.assertEqual(len(behind.got), STEP)
        self.assertIs(self.lost(far_behind, None).cause, cause)
        self.assertIs(blob.store_error, cause)
        for _ in range(20):
            self.send(blob)
            ahead.read()
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(ahead)
        self.assertEqual(len(self.file.data), 4 * MIB)

    def test_file_shorter_than_written(self) -> None:
        """The same goes for a file that somebody has cut."""
        blob = self.make()
        behind = Reader(blob.follow())
        self.send(blob, 4 * MIB)
        self.file.data.clear()
        self.assertIsInstance(self.lost(behind, None).cause, EOFError)

    def test_unreadable_when_all_is_there(self) -> None:
        """A complete blob whose file cannot be read stays complete, for those who find it in memory."""
        blob = self.make()
        behind, ahead = Reader(blob.follow()), Reader(blob.follow(len(DATA) - MIB // 2))
        self.send(blob)
        self.assertTrue(self.successResultOf(blob.finish()))
        self.file.broken_at = 0
        self.lost(behind, None)
        self.assertIsNone(blob.store_error)
        self.check(ahead, len(DATA) - MIB // 2)
        self.assertFalse(blob.can_follow(0))
        self.assertTrue(blob.can_follow(len(DATA) - LIMITS.window))

    def test_read_that_fails_after_the_reader_has_left(self) -> None:
        """A read that fails when its reader has left tells that the file is of no use."""
        thread = ManualThread()
        self.file = FakeFile(thread)
        self.file.broken_at = 0
        blob = self.make()
        behind, ahead = Reader(blob.follow()), Reader(blob.follow(4 * MIB - MIB // 2))
        self.send(blob, 4 * MIB)
        behind.read()
        behind.source.close()
        thread.run()
        self.assertIsNotNone(blob.store_error)
        self.send(blob)
        self.assertEqual(ahead.read()[:100], DATA[4 * MIB - MIB // 2 :][:100])

    def test_last_reader_of_an_unreadable_file(self) -> None:
        """When the last reader has lost its place the download is given up: it would be for nothing."""
        blob = self.make()
        behind = Reader(blob.follow())
        self.send(blob, 4 * MIB)
        self.file.broken_at = 0
        self.lost(behind, None)
        self.assertIsInstance(blob.failure, Unwanted)
        self.assertTrue(self.producer.stopped)

    def test_dropped(self) -> None:
        """A reader that delays others while nothing is stored takes along what it has received."""
        blob = self.make(stored=False)
        fast, slow = Reader(blob.follow()), Reader(blob.follow(), STEP)
        self.send(blob, STEP)
        slow.read(1)
        self.send(blob)
        fast.read()
        seen = blob.bytes.digested
        self.clock.advance(LIMITS.stall)
        self.assertIsNone(self.lost(slow, seen).cause)

    def test_dropped_at_the_edge_of_a_full_disk(self) -> None:
        """A reader far behind in the file, while the disk is full, is dropped too if it delays others."""
        self.file.full_at = 5 * MIB
        blob = self.make()
        fast, slow = Reader(blob.follow()), Reader(blob.follow(), STEP)
        slow.read(1)
        self.send(blob, STEP * 10)
        slow.read(1)
        while not self.producer.paused:
            self.send(blob, blob.received + STEP)
            fast.read()
        seen = blob.bytes.digested
        self.clock.advance(LIMITS.stall)
        self.lost(slow, seen)
        self.assertEqual([type(error) for error in self.said], [OSError])
        for _ in range(20):
            self.send(blob)
            fast.read()
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(fast)

    def test_no_hole(self) -> None:
        """Nobody is let in who would find a hole between the file and the memory."""
        self.file.full_at = 5 * MIB
        blob = self.make()
        ahead = Reader(blob.follow())
        while blob.store_error is None:
            self.send(blob, blob.received + STEP)
        stored = blob.bytes.stored
        self.assertTrue(all(map(blob.can_follow, (0, stored - 1, stored, blob.bytes.digested))))
        for _ in range(20):
            self.send(blob)
            ahead.read()
        for position in (0, 1, stored - 1, stored, blob.bytes.digested - 2 * BATCH):
            self.assertFalse(blob.can_follow(position), position)
        self.assertTrue(blob.can_follow(blob.bytes.digested))

    def test_who_is_let_in_is_kept_a_place(self) -> None:
        """A reader admitted before there was a hole finds all bytes: from the file, then from memory."""
        self.file.full_at = 5 * MIB
        blob = self.make()
        ahead = Reader(blob.follow())
        while blob.store_error is None:
            self.send(blob, blob.received + STEP)
        late = Reader(blob.follow(), STEP)
        for _ in range(300):
            self.send(blob)
            ahead.read()
            late.read(3)
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(ahead)
        self.check(late)

    def test_never_wanted(self) -> None:
        """What cannot be stored and is read by nobody from the beginning is given up."""
        blob = self.make(stored=False)
        self.send(blob)
        self.assertIsInstance(blob.failure, Unwanted)
        self.assertEqual((self.producer.calls, blob.received), (["stop"], FIRST))


class Found(PlacesTestCase):
    """A download for a reader who has lost its place in another one."""

    def found(self, had: bytes, start: int) -> tuple[GrowingBlob, Reader]:
        """Send everything to a reader that continues at *start*, having had the beginning of *had*."""
        blob = self.make(stored=False, had=Prefix(3 * MIB, Digest.of(had[: 3 * MIB])))
        reader = Reader(blob.follow(start), STEP)
        for _ in range(300):
            self.send(blob)
            reader.read(2)
        return blob, reader

    def test_continues(self) -> None:
        """It gets the rest when the beginning is the same, and what comes before it is not kept."""
        blob, reader = self.found(DATA, MIB)
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(reader, MIB)

    def test_other_bytes(self) -> None:
        """It fails when it has received other bytes, even one; and the download ends."""
        for position in (0, MIB, 3 * MIB - 1):
            had = DATA[:position] + bytes([DATA[position] ^ 1]) + DATA[position + 1 :]
            blob, reader = self.found(had, MIB)
            self.assertIs(type(reader.error), TransferFailed)
            self.assertTrue(self.producer.stopped)
            self.assertLess(MIB + len(reader.got), 4 * MIB)
            self.assertFalse(self.successResultOf(blob.finish()))

    def test_slow(self) -> None:
        """However slow it is, it is not dropped: it delays nobody but itself."""
        blob = self.make(stored=False, had=Prefix(MIB, Digest.of(DATA[:MIB])))
        reader = Reader(blob.follow(MIB), STEP)
        while blob.received < len(DATA):
            self.send(blob)
            reader.read(1)
            self.clock.advance(LIMITS.stall)
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(reader, MIB)
