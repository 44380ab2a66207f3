"""A blob whose bytes were wrong, and another download that continues in its place."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.batches import FLUSH_DELAY
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob, Unwanted
from tests import examples
from tests.support.patterns import noise
from tests.support.streams import LIMITS, FakeFile, FakeProducer, ManualThread, Reader, run_at_once
from tests.unit.streams.world import EVENTS, PLACES, World, as_sent

MIB = 1024 * 1024
DATA = noise(5, 3 * MIB + 17)


def wrong_at(*positions: int) -> bytes:
    """Return the blob with some bytes wrong."""
    data = bytearray(DATA)
    for position in positions:
        data[position] ^= 1
    return bytes(data)


class Again(SynchronousTestCase):
    """A first download that is wrong, and a second one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.files: list[FakeFile] = []

    def blob(self, size: int | None = len(DATA), *, stored: bool = True) -> GrowingBlob:
        """Return the blob of one more download."""
        file = FakeFile()
        self.files.append(file)
        return GrowingBlob(Digest.of(DATA), size, file if stored else None, run_at_once, self.clock)

    def send(self, blob: GrowingBlob, data: bytes) -> None:
        """Send some bytes."""
        for start in range(0, len(data), 64 * 1024):
            blob.write(data[start : start + 64 * 1024])
        self.clock.advance(FLUSH_DELAY)

    def judged(self, blob: GrowingBlob, data: bytes) -> bool:
        """Send all and return whether it is right."""
        self.send(blob, data)
        return self.successResultOf(blob.finish())

    def check(self, reader: Reader, start: int = 0) -> None:
        """Read to the end: it was right."""
        reader.read()
        self.assertIsNone(reader.error)
        self.assertTrue(reader.ended)
        self.assertTrue(reader.got == DATA[start:])

    def check_failed(self, reader: Reader) -> None:
        """It has failed, short of the end."""
        reader.read()
        self.assertIsInstance(reader.error, TransferFailed)
        self.assertFalse(reader.ended)

    def test_only_the_tail_was_wrong(self) -> None:
        """Readers that have received all but the tail get a whole, right blob."""
        for position in (len(DATA) - LIMITS.tail, len(DATA) - 1):
            first, second = self.blob(), self.blob()
            readers = [Reader(first.follow()), Reader(first.follow(MIB))]
            self.send(first, wrong_at(position))
            for reader in readers:
                reader.read()
                self.assertFalse(reader.over)
            self.assertFalse(self.successResultOf(first.finish()))
            second.take_over(first)
            self.assertTrue(self.judged(second, DATA))
            self.check(readers[0])
            self.check(readers[1], MIB)

    def test_who_has_had_a_wrong_byte(self) -> None:
        """Readers beyond the first wrong byte fail as soon as it is found; those before it continue."""
        first, second = self.blob(), self.blob()
        limit = 100_000
        readers = [Reader(first.follow(), limit) for _ in range(3)]
        newcomer = Reader(first.follow(2 * MIB))
        self.send(first, wrong_at(1000, 2 * limit))
        readers[0].read(0)
        readers[1].read(1)
        readers[2].read(2)
        first = self.over(first, second)
        self.send(second, DATA[: 4 * 64 * 1024])
        self.check_failed(readers[1])
        self.check_failed(readers[2])
        self.assertTrue(self.judged(second, DATA[4 * 64 * 1024 :]))
        self.check(readers[0])
        self.check(newcomer, 2 * MIB)

    def over(self, first: GrowingBlob, second: GrowingBlob) -> GrowingBlob:
        """Let the second take over from the first, which has turned out to be wrong."""
        self.assertFalse(self.successResultOf(first.finish()))
        second.take_over(first)
        return first

    def test_exactly_at_the_wrong_byte(self) -> None:
        """A reader of the bytes up to the first wrong one continues; one that has received that fails."""
        first, second = self.blob(), self.blob()
        before, after = Reader(first.follow(), 1000), Reader(first.follow(), 1001)
        self.send(first, wrong_at(1000))
        before.read(1)
        after.read(1)
        self.over(first, second)
        self.assertTrue(self.judged(second, DATA))
        self.check(before)
        self.check_failed(after)

    def test_nothing_of_the_first_after_its_verdict(self) -> None:
        """Once the bytes are known to be wrong, nobody gets any more of them."""
        first, second = self.blob(), self.blob()
        reader = Reader(first.follow(), 1000)
        self.send(first, wrong_at(5000))
        reader.read(1)
        self.assertFalse(self.successResultOf(first.finish()))
        self.assertEqual((reader.read(), reader.over), (b"", False))
        second.take_over(first)
        self.assertTrue(self.judged(second, DATA))
        self.check(reader)

    def test_read_of_the_first_that_comes_late(self) -> None:
        """What was being read from the first file when it turned out to be wrong is not given out."""
        thread = ManualThread()
        for when in range(2):
            self.setUp()
            first, second = self.blob(), self.blob()
            self.files[0]._run = thread
            reader = Reader(first.follow(), 1000)
            self.send(first, wrong_at(500))
            self.assertEqual(reader.read(), b"")
            self.assertFalse(self.successResultOf(first.finish()))
            if when:
                thread.run()
            second.take_over(first)
            thread.run()
            self.assertEqual(reader.got, b"")
            self.assertTrue(self.judged(second, DATA))
            self.check(reader)

    def test_waiting_while_behind(self) -> None:
        """A reader gets nothing while the second download is behind it, and waits."""
        first, second = self.blob(), self.blob()
        reader = Reader(first.follow())
        self.send(first, wrong_at(len(DATA) - 1))
        reader.read()
        had = len(reader.got)
        self.over(first, second)
        self.send(second, DATA[:had])
        self.assertEqual((reader.read(), reader.over), (b"", False))
        self.assertTrue(self.judged(second, DATA[had:]))
        self.check(reader)

    def test_file_is_closed(self) -> None:
        """The first file is closed when everything in it that somebody has had is compared."""
        first, second = self.blob(), self.blob()
        reader = Reader(first.follow(), 256 * 1024)
        self.send(first, wrong_at(len(DATA) - 1))
        reader.read(4)
        self.over(first, second)
        self.send(second, DATA[: MIB - 1])
        self.assertFalse(self.files[0].closed)
        self.send(second, DATA[MIB - 1 : 2 * MIB])
        self.assertTrue(self.files[0].closed)

    def test_nobody_has_had_anything(self) -> None:
        """Where there is nothing to compare the first file is closed at once."""
        first, second = self.blob(), self.blob()
        reader = Reader(first.follow())
        self.send(first, wrong_at(7))
        self.over(first, second)
        self.assertTrue(self.files[0].closed)
        self.assertTrue(self.judged(second, DATA))
        self.check(reader)

    def test_failure_of_the_second(self) -> None:
        """If the second breaks off, all readers fail, and both files are closed."""
        first, second = self.blob(), self.blob()
        readers = [Reader(first.follow()), Reader(first.follow())]
        self.send(first, wrong_at(len(DATA) - 1))
        readers[0].read()
        self.over(first, second)
        self.send(second, DATA[:MIB])
        second.fail(TransferFailed("it broke"))
        second.release()
        for reader in readers:
            self.check_failed(reader)
            reader.source.close()
        self.assertEqual([file.closed for file in self.files], [True, True])

    def test_three_downloads(self) -> None:
        """A second one that is wrong as well is taken over from by a third one."""
        blobs = [self.blob() for _ in range(3)]
        readers = [Reader(blobs[0].follow(), 1000) for _ in range(2)]
        self.send(blobs[0], wrong_at(10_000))
        readers[0].read(5)
        self.over(blobs[0], blobs[1])
        self.assertFalse(self.judged(blobs[1], wrong_at(20_000)))
        self.assertEqual(len(readers[1].got), 0)
        blobs[2].take_over(blobs[1])
        self.assertTrue(self.judged(blobs[2], DATA))
        for reader in readers:
            self.check(reader)
            reader.source.close()
        blobs[2].release()
        self.assertTrue(all(file.closed for file in self.files))

    def test_unstored(self) -> None:
        """Without a file of the first, who has had something fails, and who has had nothing goes on."""
        first, second = self.blob(stored=False), self.blob()
        some, none = Reader(first.follow(), 1000), Reader(first.follow())
        producer = FakeProducer(first)
        first.registerProducer(producer, True)
        self.send(first, wrong_at(len(DATA) - 1))
        some.read(1)
        self.over(first, second)
        self.check_failed(some)
        self.assertTrue(self.judged(second, DATA))
        self.check(none)

    def test_stored_in_part(self) -> None:
        """What was stored before the disk was full is enough for who has received no more than that."""
        first, second = self.blob(), self.blob()
        self.files[0].full_at = MIB
        more, less = Reader(first.follow(), MIB // 2), Reader(first.follow(), MIB // 2)
        self.send(first, wrong_at(len(DATA) - 1))
        less.read(2)
        more.read(9)
        self.over(first, second)
        self.check_failed(more)
        self.assertTrue(self.judged(second, DATA))
        self.check(less)

    def test_first_file_cannot_be_read(self) -> None:
        """Where the first file cannot be read, a reader that has received part of it fails."""
        first, second = self.blob(), self.blob()
        more, less = Reader(first.follow(), 1000), Reader(first.follow(), 1000)
        self.send(first, wrong_at(len(DATA) - 1))
        less.read(1)
        more.read(600)
        self.files[0].broken_at = 300_000
        self.over(first, second)
        self.assertTrue(self.judged(second, DATA))
        self.check_failed(more)
        self.check(less)

    def test_second_is_not_stored(self) -> None:
        """It does not matter whether the second can be stored."""
        first, second = self.blob(), self.blob(stored=False)
        reader = Reader(first.follow())
        self.send(first, wrong_at(len(DATA) - 1))
        reader.read()
        self.over(first, second)
        self.assertTrue(self.judged(second, DATA))
        self.check(reader)

    def test_second_that_nobody_wants(self) -> None:
        """If the second cannot be stored, and all readers have failed, it is given up."""
        first, second = self.blob(), self.blob(stored=False)
        producer = FakeProducer(second)
        second.registerProducer(producer, True)
        reader = Reader(first.follow())
        self.send(first, wrong_at(0))
        reader.read()
        self.over(first, second)
        self.send(second, DATA)
        self.check_failed(reader)
        self.assertIsInstance(second.failure, Unwanted)
        self.assertTrue(producer.stopped)

    def test_other_length(self) -> None:
        """A reader that was told another length fails, and later readers are served."""
        for size in (len(DATA) - 1, len(DATA) + 1):
            first, second = self.blob(size), self.blob()
            told = Reader(first.follow())
            self.send(first, DATA)
            self.over(first, second)
            self.check_failed(told)
            late = Reader(second.follow())
            self.assertTrue(self.judged(second, DATA))
            self.check(late)

    def test_length_that_nobody_announced(self) -> None:
        """A reader that was told no length continues, and fails if it has received more than there is."""
        first, second = self.blob(None), self.blob()
        some, too_much = Reader(first.follow(), 1000), Reader(first.follow())
        self.send(first, DATA + bytes(MIB))
        some.read(1)
        too_much.read()
        self.over(first, second)
        self.assertTrue(self.judged(second, DATA))
        self.check(some)
        self.check_failed(too_much)

    def test_longer_than_announced(self) -> None:
        """A first one that was too long has its announced bytes compared like any other."""
        first, second = self.blob(), self.blob()
        reader = Reader(first.follow())
        self.send(first, DATA[: -LIMITS.tail])
        reader.read()
        self.assertFalse(self.judged(first, DATA[-LIMITS.tail :] + b"more"))
        second.take_over(first)
        self.assertTrue(self.judged(second, DATA))
        self.check(reader)

    def test_following_what_was_taken_over(self) -> None:
        """A reader that still holds the first, and follows it, follows the second."""
        first, second = self.blob(), self.blob()
        self.send(first, wrong_at(0))
        self.over(first, second)
        reader = Reader(first.follow(10))
        self.assertTrue(self.judged(second, DATA))
        self.check(reader, 10)


class Interleavings(SynchronousTestCase):
    """Any order of events around two wrong downloads and a last one."""

    @settings(max_examples=examples(5))
    @given(
        size=st.integers(1, 150),
        faults=st.lists(
            st.tuples(st.sampled_from(["wrong", "short", "long"]), st.integers(0, 149)),
            min_size=1,
            max_size=2,
        ),
        announced=st.booleans(),
        full_at=PLACES,
        events=st.tuples(EVENTS, EVENTS, EVENTS),
    )
    def test_right_or_short(
        self,
        size: int,
        faults: list[tuple[str, int]],
        announced: bool,
        full_at: int | None,
        events: tuple[list[tuple[str, int]], ...],
    ) -> None:
        """A reader of right bytes only gets the whole; one that got a wrong byte, or a later one, fails."""
        world = World(size)
        excused: set[Reader] = set()
        before: GrowingBlob | None = None
        sent = [as_sent(world.data, *fault) for fault in faults]
        wrong = [data for data in sent if data != world.data]
        if not wrong:
            return
        for data, happening in zip([*wrong, world.data], events, strict=False):
            disk = full_at if data != world.data else None
            blob = world.download(data, announced=announced, full_at=disk)
            if before is not None:
                blob.take_over(before)
            for event, number in happening:
                world.happen(event, number)
            verdict = world.finish()
            self.assertEqual(verdict, data == world.data)
            if blob.store_error is not None or len(data) < size:
                # What the next one is compared with is not all there.
                excused |= {reader for _, reader in world.readers}
            if blob.failure is not None:
                # It could be neither stored nor read.
                self.assertIsInstance(blob.failure, Unwanted)
            before = blob
        world.close()
        first_wrong = min(self.difference(data, world.data) for data in wrong)
        for position, reader in world.readers:
            if reader.ended:
                self.assertEqual(reader.got, world.data[position:])
            else:
                self.assertIsInstance(reader.error, TransferFailed)
                beyond = reader.got and position + len(reader.got) > first_wrong
                self.assertTrue(beyond or reader in excused)
            reader.source.close()
        self.assertEqual([file.closed for file in world.files], [True] * len(world.files))
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def difference(self, sent: bytes, data: bytes) -> int:
        """Return where the first wrong byte is."""
        pairs = enumerate(zip(sent, data, strict=False))
        return next((n for n, (one, other) in pairs if one != other), min(len(sent), len(data)))
