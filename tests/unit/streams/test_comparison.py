"""Where a second download differs from a first one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.comparison import Comparison
from tests.support.streams import FakeFile, ManualThread


class Comparing(SynchronousTestCase):
    """A file, and bytes beside it."""

    def compare(self, old: bytes, end: int, pieces: list[bytes]) -> int | None:
        """Return the first difference that is found when *pieces* come one by one."""
        self.file = FakeFile()
        self.file.append(old)
        self.over = 0

        def over() -> None:
            self.over += 1

        comparison = Comparison(self.file, end, over)
        position = 0
        for piece in pieces:
            coming = Deferred.fromCoroutine(comparison.difference(position, piece))
            difference = self.successResultOf(coming)
            if difference is not None:
                self.assertEqual(self.over, 1)
                return difference
            position += len(piece)
            self.assertEqual(self.over, 1 if position >= end else 0)
        comparison.close()
        self.assertEqual(self.over, 1)
        return None

    @given(st.binary(min_size=1, max_size=40), st.data())
    def test_first_difference(self, old: bytes, data: st.DataObject) -> None:
        """It is the first byte that differs, if that is one that somebody has had."""
        changed = data.draw(st.sets(st.integers(0, len(old) - 1)))
        end = data.draw(st.integers(1, len(old)))
        step = data.draw(st.integers(1, len(old)))
        new = bytes(byte ^ (n in changed) for n, byte in enumerate(old))
        pieces = [new[n : n + step] for n in range(0, len(new), step)]
        expected = min((n for n in changed if n < end), default=None)
        self.assertEqual(self.compare(old, end, pieces), expected)

    def test_longer(self) -> None:
        """Bytes that nobody has received are not compared, nor read."""
        self.assertIsNone(self.compare(b"0123", 4, [b"012", b"3456", b"789"]))
        self.assertEqual(self.file.reads, 2)

    def test_short_file(self) -> None:
        """Where the file ends before what somebody has had, there is a difference."""
        self.assertEqual(self.compare(b"0123", 8, [b"0123456"]), 4)

    def test_unreadable(self) -> None:
        """What cannot be read counts as different."""
        comparison = Comparison(FakeFile(), 4, lambda: None)
        self.patch(FakeFile, "_get", lambda *_: 1 / 0)
        coming = Deferred.fromCoroutine(comparison.difference(2, b"01"))
        self.assertEqual(self.successResultOf(coming), 2)

    def test_closed_while_reading(self) -> None:
        """A reader that cancels it while the file is read hears of no difference."""
        thread = ManualThread()
        over: list[None] = []
        comparison = Comparison(FakeFile(thread), 4, lambda: over.append(None))
        coming = Deferred.fromCoroutine(comparison.difference(0, b"01"))
        comparison.close()
        comparison.close()
        thread.run()
        self.successResultOf(coming)
        self.assertEqual(over, [None])
