"""Followers of a growing blob whose bytes are sent from its file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.follower import LostPlace, TransferFailed, WrongLength
from oci_registry.streams.interfaces import FileSource
from tests.support.streams import SendingReader
from tests.unit.streams.world import BATCH, TAIL, World

SIZE = 100


class Sent(SynchronousTestCase):
    """A blob of 100 bytes."""

    def setUp(self) -> None:
        self.world = World(SIZE)

    def follow(self, position: int = 0, announced: int | None = None) -> SendingReader:
        """Return a client that may be sent what is in the file."""
        follower = self.world.blob.follow(position, announced)
        self.assertIsInstance(follower, FileSource)
        number = len(self.world.sockets)
        reader = SendingReader(follower, 1000, self.world.sockets, number)
        self.world.readers.append((position, reader))
        return reader

    def arrive(self, count: int, *, read: bool = True) -> None:
        """Let bytes arrive, and be hashed and stored; and let everybody read."""
        for _ in range(count):
            self.world.happen("write", 1)
            self.world.clock.advance(1)
            self.world.hashing.run()
        if read:
            self.world.step()

    def test_whole(self) -> None:
        """Whenever and wherever a reader joins, nothing is read, and no byte is kept in memory for it."""
        blob = self.world.download(self.world.data)
        readers = [self.follow(), self.follow(30)]
        for _ in range(4):
            self.arrive(20)
        readers += [self.follow(5), self.follow(79)]
        self.arrive(1)
        self.arrive(1)
        self.assertEqual(blob.received, blob.bytes.start)
        self.assertTrue(self.world.finish())
        self.world.close()
        for (position, _), reader in zip(self.world.readers, readers, strict=True):
            self.assertEqual(self.world.data[position:], reader.got)
            self.assertEqual((True, SIZE - position), (reader.ended, reader.sent))
            reader.source.close()
        self.assertEqual((0, True), (self.world.file.reads, self.world.file.closed))

    def test_tail(self) -> None:
        """The last bytes wait for the digest."""
        self.world.download(self.world.data)
        reader = self.follow()
        self.arrive(SIZE)
        self.assertEqual(self.world.data[: SIZE - TAIL], reader.got)
        self.world.finish()
        self.world.step()
        self.assertEqual((self.world.data, SIZE), (reader.got, reader.sent))

    def test_read_beside(self) -> None:
        """For a reader beside it that reads, the last bytes stay in memory."""
        blob = self.world.download(self.world.data)
        sent, read = self.follow(), blob.follow()
        self.arrive(6 * BATCH)
        self.assertEqual(blob.received - 16, blob.bytes.start)
        read.close()
        self.arrive(1)
        self.assertEqual(blob.received, blob.bytes.start)
        self.assertEqual(blob.received, sent.sent)

    def test_store_that_fails(self) -> None:
        """What is in the file is sent, and what came after it is read."""
        self.world.download(self.world.data, full_at=40)
        reader = self.follow()
        self.arrive(50, read=False)
        late = self.follow(3)
        self.assertTrue(self.world.finish())
        self.world.close()
        self.assertEqual((self.world.data, True), (reader.got, reader.ended))
        self.assertEqual(self.world.data[3:], late.got)
        self.assertLessEqual(late.sent, 40)

    def test_file_that_is_lost(self) -> None:
        """If what cannot be sent cannot be read either, a reader loses its place, and knows what it had."""
        self.world.download(self.world.data, broken_at=20)
        reader = self.follow()
        self.arrive(20)
        self.assertEqual(20, reader.sent)
        # Nothing of this is in memory: nobody has read so far.
        self.arrive(8, read=False)
        reader.read()
        self.world.step()
        self.assertIsInstance(reader.error, LostPlace)
        assert isinstance(reader.error, LostPlace)
        self.assertIsNotNone(reader.error.had)

    def test_wrong_bytes(self) -> None:
        """When bytes are wrong, nothing more is sent, until the second download has come so far."""
        data = self.world.data
        first = self.world.download(data[:60] + b"\xff" + data[61:])
        ahead, behind = self.follow(), self.follow()
        self.arrive(50, read=False)
        behind.read(1)
        self.assertEqual(50, len(behind.got))
        self.arrive(SIZE, read=False)
        ahead.read()
        self.assertEqual(SIZE - TAIL, len(ahead.got))
        self.assertFalse(self.successResultOf(first.finish()))
        self.assertIsNotNone(first.wrong)
        behind.read()
        self.assertEqual(50, len(behind.got))
        second = self.world.download(data)
        second.take_over(first)
        self.assertTrue(self.world.finish())
        self.world.close()
        self.assertIsInstance(ahead.error, TransferFailed)
        self.assertEqual((data, True), (behind.got, behind.ended))
        behind.source.close()
        self.assertEqual([True, True], [file.closed for file in self.world.files])

    def test_continues_with_another(self) -> None:
        """A reader that has received only right bytes is sent the rest from the second file."""
        data = self.world.data
        first = self.world.download(data[:-1] + b"\xff")
        reader = self.follow()
        self.arrive(SIZE)
        self.assertFalse(self.world.finish())
        self.assertEqual(data[:-TAIL], reader.got)
        self.world.download(data).take_over(first)
        self.assertTrue(self.world.finish())
        self.world.close()
        self.assertEqual((data, True, SIZE), (reader.got, reader.ended, reader.sent))

    def test_another_length(self) -> None:
        """A client that was promised another length is never sent the last bytes of that."""
        self.world.download(self.world.data, announced=False)
        reader = self.follow(announced=SIZE - 10)
        self.assertTrue(self.world.finish())
        self.world.close()
        self.assertIsInstance(reader.error, WrongLength)
        self.assertLessEqual(len(reader.got), SIZE - 10 - TAIL)

    def test_transfer_that_fails(self) -> None:
        """When the download fails, the reader fails, and is sent nothing more."""
        blob = self.world.download(self.world.data)
        reader = self.follow()
        self.arrive(30)
        blob.fail(TransferFailed("upstream broke"))
        self.assertEqual((False, 0), (reader.source.can_send(), reader.source.send_now(0, 9)))  # type: ignore[attr-defined]
        reader.read()
        self.assertIsInstance(reader.error, TransferFailed)
        self.assertEqual(30, len(reader.got))
