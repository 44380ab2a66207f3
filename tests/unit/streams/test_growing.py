"""A blob that is written by one and followed by many: what readers get, and when."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.streams.batches import BATCH, FIRST, FLUSH_DELAY
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.garbage import release_frames
from oci_registry.streams.growing import GrowingBlob
from tests.support.patterns import noise
from tests.support.streams import LIMITS, FakeFile, FakeProducer, ManualThread, Reader, run_at_once

KIB = 1024
MIB = 1024 * KIB
DATA = noise(3, 3 * MIB + 17)


class GrowingTestCase(SynchronousTestCase):
    """A blob, its file, its upstream, and a clock."""

    def blob(
        self,
        data: bytes = DATA,
        size: int | None = -1,
        file: FakeFile | None = None,
        run: ManualThread | None = None,
    ) -> GrowingBlob:
        """Return a blob that expects *data*; *size* -1 means that its length is announced."""
        self.clock = Clock()
        self.file = FakeFile() if file is None else file
        self.size = len(data) if size == -1 else size
        return GrowingBlob(Digest.of(data), self.size, self.file, run or run_at_once, self.clock)

    def feed(self, blob: GrowingBlob, data: bytes, step: int = 64 * KIB) -> None:
        """Write *data* as upstream would, and let what lies around be hashed."""
        for start in range(0, len(data), step):
            blob.write(data[start : start + step])
        self.clock.advance(FLUSH_DELAY)

    def check(self, reader: Reader, data: bytes) -> None:
        """Read to the end: it has been *data*, and all of it."""
        reader.read()
        self.assertIsNone(reader.error)
        self.assertTrue(reader.ended)
        self.assertTrue(reader.got == data)

    def check_failed(self, reader: Reader) -> None:
        """Read on: it has failed, and gives nothing more."""
        self.assertEqual(reader.read(), b"")
        self.assertIsInstance(reader.error, TransferFailed)


class Joining(GrowingTestCase):
    """Readers that come early, late and in the middle."""

    def test_early_and_late(self) -> None:
        """A reader that joins at any time gets the whole blob from the first byte."""
        blob = self.blob()
        readers = [Reader(blob.follow())]
        for start in range(0, len(DATA), MIB):
            self.feed(blob, DATA[start : start + MIB])
            readers.append(Reader(blob.follow()))
        self.assertTrue(self.successResultOf(blob.finish()))
        readers.append(Reader(blob.follow()))
        for reader in readers:
            self.check(reader, DATA)

    def test_freed(self) -> None:
        """A blob whose transfer has ended is freed when nobody reads it, without the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        for data in (DATA, bytes(len(DATA))):
            blob = self.blob()
            reader = Reader(blob.follow())
            self.feed(blob, data)
            self.assertEqual(data is DATA, self.successResultOf(blob.finish()))
            if data is not DATA:
                blob.fail(TransferFailed("wrong"))
            blob.release()
            reader.read()
            reader.source.close()
            if reader.error is not None:
                release_frames(reader.error)
            freed = weakref.ref(blob)
            del blob, reader
            self.assertIsNone(freed())

    def test_waiting_reader_is_woken(self) -> None:
        """A reader that has everything waits, and gets the next bytes as soon as they are hashed."""
        blob = self.blob()
        reader = Reader(blob.follow())
        self.assertEqual(reader.read(), b"")
        self.feed(blob, DATA[:FIRST])
        self.assertEqual(reader.got, DATA[:FIRST])

    def test_position(self) -> None:
        """A reader may begin anywhere: in memory, in the file, at bytes yet to come, at the end."""
        blob = self.blob()
        places = (0, 1, BATCH, MIB - 1, 2 * MIB, len(DATA) - 1, len(DATA))
        readers = [(p, Reader(blob.follow(p))) for p in places]
        self.feed(blob, DATA[: 2 * MIB + 5])
        readers += [(p, Reader(blob.follow(p))) for p in places]
        self.feed(blob, DATA[2 * MIB + 5 :])
        blob.finish()
        readers += [(p, Reader(blob.follow(p))) for p in places]
        for position, reader in readers:
            self.assertTrue(blob.can_follow(position))
            self.check(reader, DATA[position:])

    def test_far_behind(self) -> None:
        """A reader that has fallen out of the window reads from the file, then from memory again."""
        blob = self.blob()
        slow = Reader(blob.follow(), 10_000)
        self.feed(blob, DATA)
        blob.finish()
        self.check(slow, DATA)
        in_file = len(DATA) - LIMITS.window
        self.assertTrue(in_file <= self.file.reads * 10_000 < in_file + BATCH + 20_000)

    def test_keeping_pace_needs_no_file(self) -> None:
        """A reader that keeps pace never touches the file."""
        blob = self.blob()
        reader = Reader(blob.follow())
        for start in range(0, len(DATA), MIB // 2):
            self.feed(blob, DATA[start : start + MIB // 2])
            reader.read()
        blob.finish()
        self.check(reader, DATA)
        self.assertEqual(self.file.reads, 0)

    def test_leaving(self) -> None:
        """A reader that leaves while it waits hears nothing more and stops nothing."""
        blob = self.blob()
        leaving, staying = Reader(blob.follow()), Reader(blob.follow())
        leaving.read()
        leaving.source.close()
        leaving.source.close()
        self.feed(blob, DATA)
        blob.finish()
        self.assertEqual((leaving.got, leaving.over), (b"", False))
        self.check(staying, DATA)
        self.assertEqual(bytes(self.file.data), DATA)

    def test_file_is_closed_with_the_last_reader(self) -> None:
        """The file is given back when the transfer is over and its last reader has left."""
        blob = self.blob()
        first, second = blob.follow(), Reader(blob.follow())
        self.feed(blob, DATA)
        blob.finish()
        blob.release()
        first.close()
        self.assertFalse(self.file.closed)
        self.check(second, DATA)
        second.source.close()
        self.assertTrue(self.file.closed)


class Tail(GrowingTestCase):
    """What is held back until the digest is known."""

    def test_held_back(self) -> None:
        """The last 64 KiB of a blob are not to be had before the whole of it is verified."""
        blob = self.blob()
        reader = Reader(blob.follow())
        self.feed(blob, DATA)
        self.assertEqual(reader.read(), DATA[: -LIMITS.tail])
        self.assertFalse(reader.over)
        self.assertTrue(self.successResultOf(blob.finish()))
        self.check(reader, DATA)

    def test_small_blobs(self) -> None:
        """Of a blob of at most 64 KiB there is not a byte before it is verified."""
        for size in (1, LIMITS.tail - 1, LIMITS.tail):
            for announced in (size, None):
                data = DATA[:size]
                blob = self.blob(data, announced)
                reader = Reader(blob.follow())
                self.feed(blob, data)
                self.assertEqual((reader.read(), reader.over), (b"", False))
                self.assertTrue(self.successResultOf(blob.finish()))
                self.check(reader, data)
        blob = self.blob(DATA[: LIMITS.tail + 1])
        self.feed(blob, DATA[: LIMITS.tail + 1])
        self.assertEqual(Reader(blob.follow()).read(), DATA[:1])

    def test_empty_blob(self) -> None:
        """An empty blob is complete when upstream has ended."""
        for announced in (0, None):
            blob = self.blob(b"", announced)
            reader = Reader(blob.follow())
            self.assertEqual((reader.read(), reader.over), (b"", False))
            self.assertTrue(self.successResultOf(blob.finish()))
            self.check(reader, b"")

    def test_unknown_length(self) -> None:
        """Where upstream names no length, the last 64 KiB so far are held back at every moment."""
        blob = self.blob(size=None)
        reader = Reader(blob.follow())
        for start in range(0, len(DATA), MIB):
            self.feed(blob, DATA[start : start + MIB])
            reader.read()
            self.assertEqual(len(reader.got), min(start + MIB, len(DATA)) - LIMITS.tail)
        blob.finish()
        self.assertEqual(blob.size, len(DATA))
        self.check(reader, DATA)

    def test_range_in_the_tail(self) -> None:
        """A range inside the tail waits for the verification too."""
        blob = self.blob()
        reader = Reader(blob.follow(len(DATA) - 10))
        reader.read()
        self.feed(blob, DATA)
        self.assertEqual(reader.got, b"")
        blob.finish()
        self.check(reader, DATA[-10:])


class Wrong(GrowingTestCase):
    """Blobs that upstream gets wrong."""

    def wrong(self, sent: bytes, size: int | None = -1) -> None:
        """Send *sent* for `DATA`: every reader fails, and none has seen the tail."""
        blob = self.blob(size=size)
        waiting, behind = Reader(blob.follow()), Reader(blob.follow())
        for start in range(0, len(sent), MIB):
            self.feed(blob, sent[start : start + MIB])
            waiting.read()
        behind.read(2)
        self.assertFalse(self.successResultOf(blob.finish()))
        newcomer = Reader(blob.follow())
        for reader in (waiting, behind, newcomer):
            self.assertEqual((reader.read(), reader.over), (b"", False))
        self.assertFalse(blob.can_follow(0))
        blob.fail(blob.wrong)
        for reader in (waiting, behind, newcomer):
            self.check_failed(reader)
            announced = len(sent) if size is None else len(DATA)
            self.assertLessEqual(len(reader.got), announced - LIMITS.tail)
            self.assertTrue(sent.startswith(bytes(reader.got)))
        self.assertFalse(blob.verified)
        self.assertFalse(blob.can_follow(0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrong_byte(self) -> None:
        """A wrong byte, first, in the middle or last, fails every reader before the tail."""
        for position in (0, len(DATA) // 2, len(DATA) - LIMITS.tail, len(DATA) - 1):
            sent = bytearray(DATA)
            sent[position] ^= 1
            for size in (-1, None):
                self.wrong(bytes(sent), size)

    def test_short(self) -> None:
        """A blob that ends too early fails every reader, whatever its length was said to be."""
        for length in (len(DATA) - 1, len(DATA) - LIMITS.tail, MIB):
            self.wrong(DATA[:length])
            self.wrong(DATA[:length], None)

    def test_long(self) -> None:
        """A blob that is too long fails every reader, whatever its length was said to be."""
        for more in (b"x", b"x" * 3 * MIB):
            self.wrong(DATA + more)
            self.wrong(DATA + more, None)

    def test_long_is_not_read_on(self) -> None:
        """Upstream is stopped as soon as it has sent more than it announced."""
        blob = self.blob()
        producer = FakeProducer(blob)
        blob.registerProducer(producer, True)
        self.feed(blob, DATA + b"x")
        self.assertEqual(producer.calls, ["stop"])
        blob.write(b"more")
        self.assertFalse(self.successResultOf(blob.finish()))

    def test_announced_wrongly(self) -> None:
        """The right bytes under a wrong length are refused: the client has been told that length."""
        for size in (len(DATA) - 1, len(DATA) + 1):
            blob = self.blob(size=size)
            self.feed(blob, DATA)
            self.assertFalse(self.successResultOf(blob.finish()))

    def test_failed_by_the_transfer(self) -> None:
        """When the transfer gives up, waiting readers are told at once, the others at their next read."""
        blob = self.blob()
        ahead, behind = Reader(blob.follow(MIB)), Reader(blob.follow())
        ahead.read()
        self.feed(blob, DATA[:MIB])
        blob.fail(TransferFailed("gone"))
        blob.fail(TransferFailed("twice"))
        self.assertEqual(str(ahead.error), "gone")
        self.assertIsNone(behind.error)
        self.check_failed(behind)

    def test_failure_while_hashing(self) -> None:
        """A failure in the middle of a batch waits for the thread before the file is closed."""
        thread = ManualThread()
        blob = self.blob(run=thread)
        blob.write(DATA[:BATCH])
        blob.fail(TransferFailed("gone"))
        blob.release()
        self.assertFalse(self.file.closed)
        thread.run()
        self.assertTrue(self.file.closed)

    def test_crash_of_the_thread(self) -> None:
        """If hashing itself crashes, the blob fails, upstream is stopped, and it is logged."""
        thread = ManualThread()
        blob = self.blob(run=thread)
        producer = FakeProducer(blob)
        blob.registerProducer(producer, True)
        reader = Reader(blob.follow())
        self.patch(Verifier, "update", lambda self, data: 1 / 0)
        self.feed(blob, DATA)
        self.assertTrue(producer.paused)
        thread.run()
        self.check_failed(reader)
        self.assertTrue(producer.stopped)
        self.assertFalse(self.successResultOf(blob.finish()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("internal error", str(reader.error))
