"""Ranges of stored blobs, read from media that are quick, slow, short of bytes or failing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import IStoredObject, ObjectInfo, StoreError
from oci_registry.storage.open_blob import Readers, StoredBlob, StoredSource
from tests.support.streams import ManualThread, Reader

DATA = bytes(range(256)) * 4
DIGEST = Digest.of(DATA)


@implementer(IStoredObject)
class FakeObject:
    """A stored object whose bytes come at once, or from a thread; at most *most* of them at a time."""

    def __init__(self, head: int = 0, *, now: bool = True, most: int = 1 << 20) -> None:
        self.info = ObjectInfo("key", len(DATA), 0.0, True)
        self.head = DATA[:head]
        self.thread = ManualThread()
        self.asked: list[tuple[int, int]] = []
        self.sent: list[tuple[int, int, int]] = []
        self.closed = 0
        self.now = now
        self._most = most

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read when the thread gets to it."""
        if self.closed:
            return fail(StoreError("closed"))
        self.asked.append((offset, length))
        return self.thread(lambda: DATA[offset : offset + min(length, self._most)])

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Read at once, if at all."""
        return DATA[offset : offset + length] if self.now and not self.closed else None

    def can_send(self, offset: int) -> bool:
        """Say so if bytes come at once."""
        return self.now

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Note it; send ten bytes at most."""
        self.sent.append((socket, offset, length))
        return min(length, 10)

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class Sources(SynchronousTestCase):
    """One source at a time."""

    def source(self, stored: FakeObject, start: int = 0, stop: int = len(DATA)) -> StoredSource:
        """Return a range of an object."""
        self.readers: Readers = {}
        return StoredBlob(DIGEST, stored, self.readers).source(start, stop)

    def drain(self, stored: FakeObject, source: StoredSource, limit: int = 100) -> bytes:
        """Read all, letting the thread work whenever it has to."""
        reader = Reader(source, limit)
        for _ in range(len(DATA) + 5):
            reader.read()
            stored.thread.run()
        self.assertTrue(reader.ended)
        return bytes(reader.got)

    @given(
        st.integers(0, len(DATA)),
        st.integers(0, len(DATA)),
        st.sampled_from([0, 1, 99, 100, 101, len(DATA)]),
        st.booleans(),
        st.sampled_from([7, 100, 1 << 20]),
    )
    def test_ranges(self, start: int, length: int, head: int, now: bool, most: int) -> None:
        """Whatever the range, the head and the medium's pace, it is these bytes that come."""
        stop = min(len(DATA), start + length)
        stored = FakeObject(head, now=now, most=most)
        got = self.drain(stored, self.source(stored, start, stop))
        self.assertEqual(got, DATA[start:stop])
        for offset, asked in stored.asked:
            self.assertTrue(start <= offset < offset + asked <= stop)

    def test_head(self) -> None:
        """What was read on opening is not read again."""
        stored = FakeObject(100, now=False)
        source = self.source(stored)
        self.assertEqual(source.read(100), DATA[:100])
        self.assertEqual(stored.asked, [])
        source.read(100)
        self.assertEqual(stored.asked, [(100, 100)])

    def test_reads_ahead(self) -> None:
        """Where reading means waiting, the next piece is read while the consumer has this one."""
        stored = FakeObject(now=False)
        source = self.source(stored)
        first = source.read(100)
        assert isinstance(first, Deferred)
        stored.thread.step()
        self.assertEqual(self.successResultOf(first), DATA[:100])
        self.assertEqual(stored.asked, [(0, 100), (100, 100)])
        stored.thread.step()
        second = source.read(100)
        assert isinstance(second, Deferred)
        self.assertEqual(self.successResultOf(second), DATA[100:200])

    def test_no_thread_where_none_is_needed(self) -> None:
        """What is at hand is returned at once, and nothing is read ahead of it."""
        stored = FakeObject()
        source = self.source(stored)
        self.assertEqual(source.read(100), DATA[:100])
        self.assertEqual(stored.asked, [])

    def test_closed_while_reading(self) -> None:
        """A source that is closed while it reads asks for nothing more, and no error is left over."""
        for steps in (0, 1):
            stored = FakeObject(now=False)
            source = self.source(stored)
            reading = source.read(100)
            assert isinstance(reading, Deferred)
            for _ in range(steps):
                stored.thread.step()
            source.close()
            stored.thread.run()
            self.assertEqual(self.successResultOf(reading), DATA[:100])
            self.assertEqual(len(stored.asked), 1 + steps)
            self.assertEqual((stored.closed, len(self.readers)), (1, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_read_ahead_fails(self) -> None:
        """An error of a read ahead is reported by the read that needs it, or by none."""
        for wanted in (True, False):
            stored = FakeObject(now=False)
            source = self.source(stored)
            source.read(100)
            stored.thread.step()
            stored.thread.waiting.clear()
            ahead = source._ahead
            assert isinstance(ahead, Deferred)
            if wanted:
                ahead.errback(StoreError("bad sector"))
                reading = source.read(100)
                assert isinstance(reading, Deferred)
                self.failureResultOf(reading, StoreError)
                source.close()
            else:
                source.close()
                ahead.errback(StoreError("bad sector"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_sent(self) -> None:
        """What is sent to a socket follows what was read, ends where the range does, and is not read again."""
        stored = FakeObject(5)
        source = self.source(stored, 0, 32)
        self.assertEqual(b"", stored.head, "nobody else holds it")
        self.assertEqual(0, source.send_now(3, 100), "the head is in memory, and comes first")
        self.assertFalse(source.can_send())
        self.assertEqual(DATA[:5], source.read(100))
        self.assertTrue(source.can_send())
        self.assertIsNone(source.more())
        self.assertEqual(10, source.send_now(3, 20))
        self.assertEqual(DATA[15:22], source.read(7))
        self.assertEqual(10, source.send_now(3, 100))
        self.assertEqual(0, source.send_now(3, 100))
        self.assertFalse(source.can_send(), "there is nothing left")
        self.assertEqual([(3, 5, 20), (3, 22, 10)], stored.sent)
        self.assertEqual(b"", source.read(100))
        source.close()

    def test_sent_while_read_ahead(self) -> None:
        """While bytes are on their way from a thread, nothing is sent past them, nor after the end."""
        stored = FakeObject(now=False)
        source = self.source(stored)
        reader = Reader(source, 100)
        reader.read(1)
        stored.thread.run()
        stored.now = True
        self.assertFalse(source.can_send())
        self.assertEqual(0, source.send_now(3, 100))
        source.close()
        self.assertFalse(source.can_send())
        self.assertEqual(0, source.send_now(3, 100))
        self.assertEqual([], stored.sent)
