"""What a host's answer for a blob says, and how its body is read."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import BadGateway
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.errors import Unusable, WrongAnswer
from oci_registry.upstream.failures import explain
from tests.support.fake_http import FakeResponse, as_response
from tests.support.patterns import pattern
from tests.unit.streams.test_inflate import tar
from tests.unit.upstream.bodies import Sink

LAYER = gzip.compress(tar(pattern(50_000)), mtime=0)
"""A blob that is gzip itself,"""
PACKED = gzip.compress(LAYER, mtime=0)
"""and what a server makes of it that encodes whatever it sends."""


class BlobTestCase(SynchronousTestCase):
    """Answers for a blob."""

    def setUp(self) -> None:
        self.clock = Clock()

    def blob(
        self,
        body: bytes,
        code: int = 200,
        headers: dict[str, str] | None = None,
        *,
        sized: bool = True,
        **more: Any,
    ) -> HttpBlob:
        """Return an answer."""
        response = as_response(FakeResponse(code, body, headers or {}, sized=sized))
        return HttpBlob(response, self.clock, 20.0, lambda error: explain(error, "h"), **more)

    def read(self, blob: HttpBlob) -> bytes:
        """Return the body."""
        sink = Sink()
        done = blob.pump(sink)
        self.clock.advance(0)
        self.assertEqual(len(sink.data), self.successResultOf(done))
        return sink.data


class Parts(BlobTestCase):
    """Wholes and parts."""

    def check(self, blob: HttpBlob, *expected: object) -> None:
        self.assertEqual(
            expected, (blob.head.size, blob.head.start, blob.head.stop, blob.head.partial)
        )

    def test_whole(self) -> None:
        """A whole has the length that was told, if any was."""
        self.check(self.blob(b"12345"), 5, 0, 5, False)
        self.check(self.blob(b"12345", sized=False), None, 0, None, False)

    def test_part(self) -> None:
        """A part says where it is, with a length of its own or without."""
        told = {"Content-Range": "bytes 3-7/20"}
        self.check(self.blob(b"34567", 206, told), 20, 3, 8, True)
        self.check(self.blob(b"34567", 206, told, sized=False), 20, 3, 8, True)
        self.assertEqual(b"34567", self.read(self.blob(b"34567", 206, told, sized=False)))

    def test_part_of_another_length(self) -> None:
        """A part with a length other than its range's is of no use, nor is one without a range."""
        for body, told in ((b"345", "bytes 3-7/20"), (b"34567", "bytes 3-"), (b"34567", "")):
            self.assertRaises(WrongAnswer, self.blob, body, 206, {"Content-Range": told})

    def test_part_without_length_that_ends_early(self) -> None:
        """Chunks that hold less than the range fail."""
        blob = self.blob(b"345", 206, {"Content-Range": "bytes 3-7/20"}, sized=False)
        error = self.failureResultOf(blob.pump(Sink()), BadGateway).value
        self.assertIn("3 of 5 bytes", error.message)

    def test_nothing_more(self) -> None:
        """A 416 that tells the size is the part without a byte at the end."""
        blob = self.blob(b"error", 416, {"Content-Range": "bytes */20"})
        self.check(blob, 20, 20, 20, True)
        self.assertEqual(b"", self.read(blob))
        self.assertRaises(WrongAnswer, self.blob, b"", 416)


class Encoded(BlobTestCase):
    """Blobs under a coding."""

    def encoded(self, body: bytes, coding: str = "gzip", **more: Any) -> HttpBlob:
        return self.blob(body, headers={"Content-Encoding": coding}, **more)

    def check(self, blob: HttpBlob, data: bytes, *, inflated: bool, size: int | None) -> None:
        self.assertEqual(size, blob.head.size)
        self.assertEqual(size, blob.head.stop)
        self.assertTrue(self.read(blob) == data)
        self.assertEqual((True, inflated), (blob.head.encodable, blob.inflated))

    def test_known_size(self) -> None:
        """With the blob's size known, the length of the body tells whether it is encoded."""
        blob = self.encoded(LAYER, known=len(LAYER))
        self.check(blob, LAYER, inflated=False, size=len(LAYER))
        self.check(self.encoded(PACKED, known=len(LAYER)), LAYER, inflated=True, size=None)
        blob = self.encoded(PACKED, known=len(PACKED))
        self.check(blob, PACKED, inflated=False, size=len(PACKED))

    def test_guess(self) -> None:
        """Otherwise the first bytes tell, and the size is not known before."""
        for sized in (True, False):
            blob = self.encoded(LAYER, "x-gzip", sized=sized)
            self.assertIsNone(blob.inflated)
            self.check(blob, LAYER, inflated=False, size=None)
            self.check(self.encoded(PACKED, sized=sized), LAYER, inflated=True, size=None)

    def test_inflate_given(self) -> None:
        """The caller's decision whether to inflate overrides the guess."""
        blob = self.encoded(PACKED, inflate=False, known=7)
        self.check(blob, PACKED, inflated=False, size=len(PACKED))
        blob = self.encoded(LAYER, inflate=True, known=len(LAYER))
        self.assertIsNone(blob.head.size)
        error = self.failureResultOf(self.pumped(blob), BadGateway).value
        self.assertIn(f"more than {len(LAYER)} bytes", error.message)

    def pumped(self, blob: HttpBlob) -> Any:
        done = blob.pump(Sink())
        self.clock.advance(0)
        return done

    def test_bomb(self) -> None:
        """No more is inflated than the blob has bytes."""
        blob = self.encoded(gzip.compress(bytes(2_000_000)), known=len(LAYER))
        error = self.failureResultOf(self.pumped(blob), BadGateway).value
        self.assertIn(f"more than {len(LAYER)} bytes", error.message)

    def test_meaningless(self) -> None:
        """A coding that means nothing, or that cannot be undone, leaves the body as it is."""
        for coding in ("aws-chunked", "none", "identity", "br", "zstd"):
            blob = self.encoded(LAYER, coding)
            self.assertEqual(
                (len(LAYER), False, False), (blob.head.size, blob.head.encodable, blob.inflated)
            )
            self.assertEqual(LAYER, self.read(blob))

    def test_twice(self) -> None:
        """A blob that is encoded twice is refused."""
        self.assertRaises(Unusable, self.encoded, PACKED, "gzip, gzip")

    def test_part(self) -> None:
        """A part under a coding is one of the blob only if the whole was not to be inflated."""
        told = {"Content-Range": "bytes 3-7/20", "Content-Encoding": "gzip"}
        self.assertRaises(WrongAnswer, self.blob, b"34567", 206, told)
        self.assertRaises(WrongAnswer, self.blob, b"34567", 206, told, inflate=True)
        blob = self.blob(b"34567", 206, told, inflate=False)
        self.assertEqual((3, 8, 20), (blob.head.start, blob.head.stop, blob.head.size))
        self.assertEqual(b"34567", self.read(blob))
        unknown = {**told, "Content-Range": "bytes 3-7/*"}
        blob = self.blob(b"34567", 206, unknown, inflate=False)
        self.assertEqual((3, 8, None), (blob.head.start, blob.head.stop, blob.head.size))
        self.blob(b"34567", 206, {**told, "Content-Encoding": "aws-chunked"})
