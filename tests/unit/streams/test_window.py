"""The bytes of a stream that are kept in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.window import FEW, Window


class WindowTests(SynchronousTestCase):
    """A window that moves along a stream."""

    def test_small_pieces_are_put_together(self) -> None:
        """A trickle becomes batches; a piece that is larger than a batch stays as it is."""
        window = Window(4)
        for _ in range(6):
            window.append(b"x")
        window.append(b"large")
        self.assertEqual(window.get(0, 100), b"xxxx")
        self.assertEqual(window.get(4, 100), b"xx")
        self.assertEqual(window.get(6, 100), b"large")
        self.assertIsNone(window.get(11, 100))

    def test_whole_batches_are_not_copied(self) -> None:
        """Every reader that takes a whole batch gets the same bytes object."""
        window = Window(4)
        data = bytes(range(10))
        window.append(data)
        self.assertIs(window.get(0, 10), data)

    def test_few_bytes(self) -> None:
        """A few bytes at the end of a batch come with the beginning of the next one."""
        window = Window(4)
        window.append(b"abcd")
        window.append(b"efgh")
        self.assertEqual(window.get(3, 4), b"defg")
        self.assertEqual(window.get(3, 1), b"d")
        self.assertEqual(window.get(7, 4), b"h")
        window.append(bytes(FEW + 1))
        window.append(b"z")
        self.assertEqual(window.get(9, 2 * FEW), bytes(FEW))

    def test_batches_go(self) -> None:
        """A batch is dropped when its last byte is no longer needed; less than half of one stays."""
        window = Window(4)
        window.append(b"abcd")
        window.append(b"efgh")
        window.drop_before(1)
        self.assertEqual(window.start, 0)
        window.drop_before(4)
        self.assertEqual(window.start, 4)

    def test_half_of_a_batch(self) -> None:
        """Of a batch, half or more goes if it is not needed: never are more than twice as many bytes held."""
        window = Window(8)
        window.append(b"abcdefgh")
        window.drop_before(3)
        self.assertEqual(window.start, 0)
        window.drop_before(4)
        self.assertEqual((window.start, window.get(4, 9)), (4, b"efgh"))
        self.assertIsNone(window.get(3, 1))

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("append"), st.integers(1, 12)),
                st.tuples(st.just("shrink"), st.integers(0, 30)),
                st.tuples(st.just("drop"), st.integers(0, 60)),
            )
        )
    )
    def test_is_a_piece_of_the_stream(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is added and dropped, what it holds is the stream from its start to its end."""
        window, stream = Window(8), bytearray()
        for what, number in steps:
            if what == "append":
                piece = bytes((len(stream) + n) % 251 for n in range(number))
                stream += piece
                window.append(piece)
            elif what == "shrink":
                window.shrink(number)
                self.assertLessEqual(window.size, number)
            else:
                before = window.start
                window.drop_before(number)
                self.assertGreaterEqual(max(number, before), window.start)
                self.assertLessEqual(window.size, 2 * max(0, window.end - max(number, before)))
            self.assertEqual((window.end, window.start), (len(stream), len(stream) - window.size))
            for position in range(len(stream) + 1):
                got = window.get(position, 5)
                if window.start <= position < window.end:
                    assert got
                    self.assertLessEqual(len(got), 5)
                    self.assertEqual(got, stream[position : position + len(got)])
                else:
                    self.assertIsNone(got)
