"""A stored blob that breaks while it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.fallback import FallbackSource
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.follower import LostPlace, TransferFailed
from oci_registry.streams.interfaces import Source

DATA = bytes(range(100))


class FakeSource:
    """Bytes from a position on; it ends in its own way when it has given *most* of them."""

    def __init__(
        self, start: int, most: int, end: Callable[[], bytes | Deferred[bytes]], late: bool
    ) -> None:
        self.position = start
        self.closed = 0
        self._stop = start + most
        self._end = end
        self._late = late

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Read, at once or late."""
        data = DATA[self.position : min(self._stop, self.position + limit)]
        self.position += len(data)
        if not data:
            return self._end()
        return succeed(data) if self._late else data

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class SendingSource(FakeSource):
    """A source that sends up to 30, and no more."""

    def more(self) -> Deferred[None] | None:
        """All are there."""
        return None

    def can_send(self) -> bool:
        """Whether there are some."""
        return self.position < 30

    def send_now(self, socket: int, limit: int) -> int:
        """Send them."""
        count = min(limit, 30 - self.position)
        self.position += count
        return count


class Fallbacks(SynchronousTestCase):
    """One blob of 100 bytes."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.second: Source | Deferred[Source] | None = None

    async def fallback(self, error: StoreError | LostPlace, position: int) -> Source:
        """Return the other source."""
        self.asked.append((str(error), position))
        assert self.second is not None
        return await self.second if isinstance(self.second, Deferred) else self.second

    def drain(self, source: FallbackSource, limit: int) -> bytes:
        """Read all there is."""
        got = b""
        while True:
            data = source.read(limit)
            data = self.successResultOf(data) if isinstance(data, Deferred) else data
            if not data:
                return got
            got += data

    @given(
        st.integers(0, 99),
        st.integers(0, 100),
        st.integers(1, 60),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )
    def test_continues(
        self, start: int, most: int, limit: int, late: bool, second_late: bool, ends: bool
    ) -> None:
        """Wherever it breaks, and however, the reader gets every byte, once."""
        self.setUp()

        def end() -> bytes | Deferred[bytes]:
            return b"" if ends else fail(StoreError("reset"))

        first = FakeSource(start, min(most, 100 - start), end, late)
        second = self.second = FakeSource(start + most, 100, lambda: b"", second_late)
        source = FallbackSource(first, start, 100, self.fallback)
        broken = start + most < 100 or not ends
        self.assertEqual(self.drain(source, limit), DATA[start:])
        said = "an object in the store ended early" if ends else "reset"
        self.assertEqual(self.asked, [(said, min(start + most, 100))] if broken else [])
        source.close()
        self.assertTrue(second.closed if broken else first.closed)
        self.assertTrue(first.closed)

    def test_bounded(self) -> None:
        """If the other ones fail too, that is the end some time."""
        for most in (3, 0):
            self.setUp()
            self.second = FakeSource(10, most, lambda: fail(StoreError("two")), True)
            first = FakeSource(0, 10, lambda: fail(StoreError("one")), True)
            source = FallbackSource(first, 0, 100, self.fallback)
            with self.assertRaises(StoreError) as raised:
                self.failing(source)
            self.assertEqual(str(raised.exception), "two")
            self.assertEqual(self.asked, [("one", 10), ("two", 10 + most)])

    def failing(self, source: FallbackSource) -> None:
        """Read until it fails; raise its error."""
        while True:
            reading = source.read(10)
            if isinstance(reading, Deferred):
                results: list[Any] = []
                reading.addBoth(results.append)
                if isinstance(results[0], Failure):
                    results[0].raiseException()

    def test_lost_place(self) -> None:
        """A reader that has lost its place continues elsewhere, whether it hears of it at once or late."""
        lost = LostPlace(None, OSError("bad sector"))

        def at_once() -> bytes:
            raise lost

        for end in (at_once, lambda: fail(lost)):
            self.setUp()
            self.second = FakeSource(30, 100, lambda: b"", False)
            source = FallbackSource(FakeSource(0, 30, end, False), 0, None, self.fallback)
            self.assertEqual(self.drain(source, 7), DATA)
            self.assertEqual(self.asked, [(str(lost), 30)])
            self.assertIn("bad sector", str(lost))

    def test_end_that_nobody_knows(self) -> None:
        """Where nobody knows the length, the end is the end."""
        source = FallbackSource(FakeSource(0, 30, lambda: b"", True), 0, None, self.fallback)
        self.assertEqual(self.drain(source, 7), DATA[:30])
        self.assertEqual(self.asked, [])

    def test_failed_transfer(self) -> None:
        """A transfer that has failed has failed for all its readers: there is nothing to go over to."""
        first = FakeSource(0, 10, lambda: fail(TransferFailed("wrong")), False)
        source = FallbackSource(first, 0, 100, self.fallback)
        self.assertRaises(TransferFailed, self.failing, source)
        self.assertEqual(self.asked, [])

    def test_other_errors(self) -> None:
        """What is not the store's failure is passed on."""
        source = FallbackSource(
            FakeSource(0, 0, lambda: fail(KeyError("x")), True), 0, 100, self.fallback
        )
        reading = source.read(10)
        assert isinstance(reading, Deferred)
        self.failureResultOf(reading, KeyError)
        self.assertEqual(self.asked, [])

    def test_left_meanwhile(self) -> None:
        """If the client leaves while the other one is asked for, that is closed as well."""
        arriving: Deferred[Source] = Deferred()
        self.second = arriving
        first = FakeSource(0, 0, lambda: fail(StoreError("reset")), True)
        source = FallbackSource(first, 0, 100, self.fallback)
        reading = source.read(10)
        assert isinstance(reading, Deferred)
        source.close()
        second = FakeSource(0, 100, lambda: b"", False)
        arriving.callback(second)
        self.failureResultOf(reading, StoreError)
        self.assertEqual(second.closed, 1)

    def test_sent(self) -> None:
        """What goes to a socket counts for the position; what is no file sends nothing."""
        self.second = FakeSource(30, 100, lambda: b"", late=False)
        source = FallbackSource(
            SendingSource(10, 10, lambda: fail(StoreError("I/O error")), late=False),
            10,
            60,
            self.fallback,
        )
        self.assertEqual(DATA[10:15], source.read(5))
        self.assertEqual((None, True), (source.more(), source.can_send()))
        self.assertEqual(5, source.send_now(3, 5))
        self.assertEqual(10, source.send_now(3, 10))
        self.assertEqual(0, source.send_now(3, 50))
        self.assertFalse(source.can_send())
        data = source.read(7)
        assert isinstance(data, Deferred)
        self.assertEqual(DATA[30:37], self.successResultOf(data))
        self.assertEqual([("I/O error", 30)], self.asked)
        self.assertEqual((None, False), (source.more(), source.can_send()), "it is no file")
        self.assertEqual(0, source.send_now(3, 50))
        self.assertEqual(DATA[37:40], source.read(3))
        plain = FallbackSource(FakeSource(0, 9, lambda: b"", late=False), 0, 9, self.fallback)
        self.assertEqual((None, False, 0), (plain.more(), plain.can_send(), plain.send_now(3, 9)))

    def test_fallback_is_sent(self) -> None:
        """A fallback that is a file sends too, and its position counts."""
        self.second = SendingSource(20, 80, lambda: b"", late=False)
        source = FallbackSource(
            FakeSource(0, 20, lambda: fail(StoreError("I/O error")), late=False),
            0,
            60,
            self.fallback,
        )
        self.assertFalse(source.can_send())
        self.assertEqual(DATA[:20], source.read(100))
        data = source.read(4)
        assert isinstance(data, Deferred)
        self.assertEqual(DATA[20:24], self.successResultOf(data))
        self.assertTrue(source.can_send())
        self.assertEqual(6, source.send_now(3, 100))
        self.assertEqual(DATA[30:35], source.read(5))
