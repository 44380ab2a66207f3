"""A stored blob that breaks while it is sent."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.rescue import RescuedSource
from oci_registry.storage.interfaces import StoreError
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


class Rescue(SynchronousTestCase):
    """One blob of 100 bytes."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.second: Source | Deferred[Source] | None = None

    async def instead(self, error: StoreError, position: int) -> Source:
        """Be the other source."""
        self.asked.append((str(error), position))
        assert self.second is not None
        return await self.second if isinstance(self.second, Deferred) else self.second

    def drain(self, source: RescuedSource, limit: int) -> bytes:
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
    def test_goes_on(
        self, start: int, most: int, limit: int, late: bool, second_late: bool, ends: bool
    ) -> None:
        """Wherever it breaks, and however, the reader gets every byte, once."""
        self.setUp()

        def end() -> bytes | Deferred[bytes]:
            return b"" if ends else fail(StoreError("reset"))

        first = FakeSource(start, min(most, 100 - start), end, late)
        second = self.second = FakeSource(start + most, 100, lambda: b"", second_late)
        source = RescuedSource(first, start, 100, self.instead)
        broken = start + most < 100 or not ends
        self.assertEqual(self.drain(source, limit), DATA[start:])
        said = "an object ended before its end" if ends else "reset"
        self.assertEqual(self.asked, [(said, min(start + most, 100))] if broken else [])
        source.close()
        self.assertTrue(second.closed if broken else first.closed)
        self.assertTrue(first.closed)

    def test_once(self) -> None:
        """If the other one fails too, that is the end."""
        first = FakeSource(0, 10, lambda: fail(StoreError("one")), True)
        self.second = FakeSource(10, 10, lambda: fail(StoreError("two")), True)
        source = RescuedSource(first, 0, 100, self.instead)
        for _ in range(2):
            reading = source.read(10)
            assert isinstance(reading, Deferred)
            self.successResultOf(reading)
        reading = source.read(10)
        assert isinstance(reading, Deferred)
        self.assertEqual(str(self.failureResultOf(reading, StoreError).value), "two")
        self.assertEqual(len(self.asked), 1)

    def test_other_errors(self) -> None:
        """What is not the store's failure is passed on."""
        source = RescuedSource(
            FakeSource(0, 0, lambda: fail(KeyError("x")), True), 0, 100, self.instead
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
        source = RescuedSource(first, 0, 100, self.instead)
        reading = source.read(10)
        assert isinstance(reading, Deferred)
        source.close()
        second = FakeSource(0, 100, lambda: b"", False)
        arriving.callback(second)
        self.failureResultOf(reading, StoreError)
        self.assertEqual(second.closed, 1)
