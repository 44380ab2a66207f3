"""Hashing and storing in one pass."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest, Prefix
from oci_registry.streams.recorder import SMALL, Recorder, join_small
from tests.support.streams import FakeFile

DATA = bytes(range(100))


class Recording(SynchronousTestCase):
    """Bytes in batches."""

    def test_right(self) -> None:
        """What comes is hashed and stored in order, and told of each time."""
        file = FakeFile()
        recorder = Recorder(Digest.of(DATA), file, None)
        batch = recorder.record([DATA[:10], DATA[10:30]])
        self.assertEqual((b"".join(batch.pieces), batch.length), (DATA[:30], 30))
        self.assertIsNone(batch.error)
        self.assertEqual(batch.seen, Prefix(30, Digest.of(DATA[:30])))
        self.assertFalse(recorder.verified())
        self.assertEqual(recorder.record([DATA[30:]]).seen, Prefix(100, Digest.of(DATA)))
        self.assertTrue(recorder.verified())
        self.assertEqual(bytes(file.data), DATA)

    def test_full(self) -> None:
        """What cannot be stored is hashed nevertheless, and nothing is stored after it."""
        file = FakeFile()
        file.full_at = 25
        recorder = Recorder(Digest.of(DATA), file, None)
        recorder.record([DATA[:20]])
        self.assertIsInstance(recorder.record([DATA[20:40]]).error, OSError)
        file.full_at = None
        self.assertIsNone(recorder.record([DATA[40:]]).error)
        self.assertEqual(len(file.data), 25)
        self.assertTrue(recorder.verified())

    def test_full_between_pieces(self) -> None:
        """Of a batch that can be stored only in part, nothing counts as stored."""
        file = FakeFile()
        file.full_at = SMALL + 10
        large = bytes(SMALL)
        recorder = Recorder(Digest.of(large + large), file, None)
        batch = recorder.record([large, large])
        self.assertIsInstance(batch.error, OSError)
        self.assertEqual((2 * SMALL, False), (batch.length, recorder.storing))
        self.assertTrue(recorder.verified())

    def test_large(self) -> None:
        """Large chunks are passed on as they are, without a copy."""
        chunks = [bytes(SMALL), bytes(SMALL + 1)]
        batch = Recorder(Digest.of(DATA), None, None).record(chunks)
        self.assertEqual([id(chunk) for chunk in chunks], [id(piece) for piece in batch.pieces])

    @given(st.lists(st.integers(0, 2 * SMALL), min_size=1, max_size=8))
    def test_joined(self, lengths: list[int]) -> None:
        """Whatever pieces they are put together to, the bytes are the same, and few pieces are small."""
        chunks = [bytes([number]) * length for number, length in enumerate(lengths)]
        pieces = join_small(chunks)
        self.assertTrue(b"".join(pieces) == b"".join(chunks))
        small = [len(piece) < SMALL for piece in pieces]
        self.assertNotIn((True, True), list(pairwise(small)))

    def test_without_a_file(self) -> None:
        """Without a file bytes are hashed."""
        recorder = Recorder(Digest.of(DATA), None, None)
        self.assertFalse(recorder.storing)
        self.assertIsNone(recorder.record([DATA]).error)
        self.assertEqual(recorder.actual(), Digest.of(DATA))

    @given(st.integers(1, 100), st.integers(0, 99), st.integers(1, 40))
    def test_beginning(self, length: int, wrong_at: int, step: int) -> None:
        """A beginning that is not what a reader has received is noticed when it is complete, not before."""
        other = DATA[:wrong_at] + b"\xff" + DATA[wrong_at + 1 :]
        for had in (DATA, other):
            prefix = Prefix(length, Digest.of(had[:length]))
            recorder = Recorder(Digest.of(DATA), None, prefix)
            for start in range(0, len(DATA), step):
                recorder.record([DATA[start : start + step]])
                seen = min(start + step, len(DATA))
                contradicted = seen >= length and had[:length] != DATA[:length]
                self.assertEqual(recorder.contradicted, contradicted)
            self.assertTrue(recorder.verified())
