"""A pipe between one producer and one reader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry.streams.pipe import HIGH_WATER, Pipe
from tests.support.streams import FakeProducer, Reader

CHUNK = bytes(64 * 1024)


class Piping(SynchronousTestCase):
    """A pipe with a producer."""

    def setUp(self) -> None:
        self.pipe = Pipe()
        self.producer = FakeProducer(self.pipe)
        self.pipe.registerProducer(self.producer, True)
        self.reader = Reader(self.pipe)

    def test_interface(self) -> None:
        """It is a consumer."""
        verifyObject(IConsumer, self.pipe)

    @given(st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 5))), st.integers(1, 9))
    def test_every_byte_once(self, steps: list[bytes | int], limit: int) -> None:
        """Whatever the order of writes and reads, what is read is what was written."""
        self.setUp()
        self.reader = Reader(self.pipe, limit)
        written = b""
        for step in steps:
            if isinstance(step, int):
                self.reader.read(step)
            else:
                self.pipe.write(step)
                written += step
        self.pipe.end()
        self.reader.read()
        self.assertTrue(self.reader.ended)
        self.assertEqual((bytes(self.reader.got), self.pipe.received), (written, len(written)))

    def test_waiting_reader(self) -> None:
        """A reader that waits gets the next bytes as they come, and the end."""
        self.reader.read()
        self.pipe.write(b"one")
        self.assertEqual(self.reader.read(), b"one")
        self.pipe.end()
        self.assertTrue(self.reader.ended)

    def test_bounded(self) -> None:
        """The producer is paused above 512 KiB, and resumed when half of that has been read."""
        most = 0
        for _ in range(3):
            while not self.producer.paused:
                self.pipe.write(CHUNK)
            most = max(most, self.pipe._size)
            while self.producer.paused:
                self.assertGreater(self.pipe._size, HIGH_WATER // 2)
                self.reader.read(1)
        self.assertEqual(most, HIGH_WATER + len(CHUNK))
        self.assertEqual(self.producer.calls, ["pause", "resume"] * 3)

    def test_error(self) -> None:
        """An error comes after what came before it, and stays."""
        self.pipe.write(b"some")
        self.pipe.end(OSError("broken"))
        self.pipe.end()
        self.reader.read()
        self.assertEqual((bytes(self.reader.got), str(self.reader.error)), (b"some", "broken"))
        self.assertRaises(OSError, self.pipe.read, 10)

    def test_error_while_waiting(self) -> None:
        """A reader that waits is told of an error."""
        self.reader.read()
        self.pipe.end(OSError("broken"))
        self.assertEqual(str(self.reader.error), "broken")

    def test_close(self) -> None:
        """A reader that leaves stops the producer, and nothing is kept."""
        self.pipe.write(CHUNK)
        self.pipe.close()
        self.pipe.close()
        self.pipe.write(CHUNK)
        self.assertEqual((self.producer.calls, self.pipe._size), (["stop"], 0))
        self.assertEqual(self.pipe.read(10), b"")

    def test_close_while_waiting(self) -> None:
        """A reader that leaves while it waits hears nothing more."""
        waiting = self.pipe.read(10)
        assert isinstance(waiting, Deferred)
        self.pipe.close()
        self.pipe.end()
        self.assertNoResult(waiting)

    def test_producer_that_comes_too_late(self) -> None:
        """A producer that comes when the reader has left is stopped at once."""
        pipe = Pipe()
        pipe.close()
        pipe.registerProducer(self.producer, True)
        self.assertEqual(self.producer.calls, ["stop"])

    def test_producer_that_has_ended(self) -> None:
        """What has ended is neither resumed nor stopped any more."""
        while not self.producer.paused:
            self.pipe.write(CHUNK)
        self.pipe.unregisterProducer()
        self.reader.read()
        self.pipe.close()
        self.assertEqual(self.producer.calls, ["pause"])
