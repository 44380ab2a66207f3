"""Request bodies in chunks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.chunks import MAX_SIZE_LINE, MAX_TRAILERS, ChunkedBody
from oci_registry.web.refusals import Refused

LIMIT = 100_000


class Body:
    """A body as it is read: what was in it, and what came after it."""

    def __init__(self, *pieces: bytes) -> None:
        self.content = b""
        self.rest: list[bytes] = []
        self.refusal = ""
        body = ChunkedBody(LIMIT, self._add, self.rest.append)
        try:
            for piece in pieces:
                body.dataReceived(piece)
        except Refused as refused:
            self.refusal = str(refused).split(" ")[1]

    def _add(self, data: bytes) -> None:
        self.content += data


class Chunks(SynchronousTestCase):
    """RFC 9112 section 7.1."""

    def test_whole(self) -> None:
        """Sizes are hexadecimal; extensions and trailers mean nothing."""
        for sent, content in (
            (b"0\r\n\r\n", b""),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b'0003;a=b;c="d e"\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n', b"abc0123456789"),
            (b"1\r\na\r\n0;x\r\nA: b\r\nC:\r\n\r\n", b"a"),
        ):
            body = Body(sent + b"GET / HTTP/1.1")
            self.assertEqual((content, [b"GET / HTTP/1.1"]), (body.content, body.rest), sent)

    def test_malformed(self) -> None:
        """What is wrong is refused as soon as it is there, though a line or a chunk has no end yet."""
        for sent in (
            b"x",
            b"-",
            b"+1",
            b" 1",
            b"\r\n",
            b"\n",
            b"1 ",
            b"1 ;a",
            b"0x1",
            b"1\n",
            b"1\ra",
            b"1;a\nb",
            b"1;a\0",
            b"123456789",
            b"1" * 5000,
            b"0" * (MAX_SIZE_LINE + 2),
            b"1;" + b"a" * MAX_SIZE_LINE,
            b"3\r\nabcd",
            b"3\r\nabc\n",
            b"3\r\nabc\r\r",
            b"0\r\nno colon\r\n",
            b"0\r\nA: b\n",
            b"0\r\n folded: b\r\n",
        ):
            self.assertEqual("400", Body(sent).refusal, sent[:80])
            self.assertEqual("400", Body(*(bytes([byte]) for byte in sent)).refusal, sent[:80])

    def test_too_much(self) -> None:
        """A body is as large as its chunks say, and as all that frames them."""
        for sent, refusal in (
            (b"%x\r\n" % LIMIT, "413"),
            (b"ffffffff\r\n", "413"),
            (b"8000\r\n%b\r\n" % bytes(0x8000) * 4, "413"),
            (b"1;%b\r\na\r\n" % (b"x" * 900) * 200, "413"),
            (b"0\r\n" + b"A: b\r\n" * MAX_TRAILERS, "431"),
            (b"0\r\nA: " + b"b" * MAX_TRAILERS, "431"),
        ):
            self.assertEqual(refusal, Body(sent).refusal, sent[:80])

    def test_after_the_end(self) -> None:
        """After its end there is nothing to give to it."""
        body = ChunkedBody(LIMIT, lambda _: None, lambda _: None)
        body.dataReceived(b"0\r\n\r\n")
        self.assertRaises(RuntimeError, body.dataReceived, b"x")

    @given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(0, 2000)))
    def test_pieces(self, chunks: list[bytes], cuts: list[int]) -> None:
        """A body is the same however it is cut."""
        sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        places = sorted({0, *(cut % len(sent) for cut in cuts), len(sent)})
        body = Body(*(sent[start:stop] for start, stop in pairwise(places)))
        self.assertEqual((b"".join(chunks), [b""]), (body.content, body.rest))

    @given(st.binary())
    def test_anything(self, data: bytes) -> None:
        """Whatever comes is refused, ends, or may yet become a body."""
        one, other = Body(data), Body(*(bytes([byte]) for byte in data))
        self.assertEqual((one.refusal, one.content), (other.refusal, other.content))
