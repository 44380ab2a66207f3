"""What a Content-Encoding says of a body, and what the body can be read as."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.body import BodyTooLong
from oci_registry.upstream.encoding import (
    Body,
    coding_of,
    looks_like_json,
    read_body,
    read_document,
)
from oci_registry.upstream.errors import Unusable
from tests.support.fake_http import FakeResponse, as_response

DOCUMENT = json.dumps({"tags": ["latest"] * 10}).encode()
LIMIT = 4 * 1024 * 1024


def response(body: bytes, *codings: str) -> FakeResponse:
    """Return an answer with a Content-Encoding in each of several lines."""
    answer = FakeResponse(body=body)
    answer.headers.setRawHeaders(b"Content-Encoding", [coding.encode() for coding in codings])
    return answer


class Codings(SynchronousTestCase):
    """The names of codings."""

    def check(self, coding: str | None, values: Sequence[str]) -> None:
        self.assertEqual(coding, coding_of(as_response(response(b"", *values))), values)

    def test_that_mean_nothing(self) -> None:
        """What names no coding that changes bytes is none."""
        for value in (
            *(
                "",
                " ",
                ",",
                "identity",
                "Identity",
                "aws-chunked",
                "none",
                "None",
                "utf-8",
                "UTF-8",
            ),
            *("binary", "8bit", "application/octet-stream", "identity, aws-chunked", "\xff\xfe"),
        ):
            self.check(None, [value])
        self.check(None, [])
        self.check(None, ["identity", "identity"])

    def test_that_can_be_undone(self) -> None:
        """gzip and deflate are known in any case of letters, beside what means nothing."""
        for value in ("gzip", "GZIP", " x-gzip ", "X-Gzip", "aws-chunked,gzip", "gzip , identity"):
            self.check("gzip", [value])
        self.check("gzip", ["aws-chunked", "gzip"])
        self.check("deflate", ["Deflate"])

    def test_that_cannot_be_undone(self) -> None:
        """Other codings keep their names."""
        for value, coding in (("br", "br"), ("ZSTD", "zstd"), ("x-compress", "compress")):
            self.check(coding, [value])

    def test_several(self) -> None:
        """More than one coding is refused, in one line or in several."""
        for values in (["gzip, gzip"], ["gzip", "gzip"], ["br,identity,deflate"], ["gzip," * 1000]):
            with self.assertRaisesRegex(Unusable, "more than once"):
                coding_of(as_response(response(b"", *values)))

    @given(st.lists(st.binary(max_size=20), max_size=5))
    def test_anything(self, values: list[bytes]) -> None:
        """Whatever is sent has one coding, none, or is refused."""
        answer = FakeResponse()
        answer.headers.setRawHeaders(b"Content-Encoding", values)
        try:
            coding_of(as_response(answer))
        except Unusable:
            self.assertIn(b",", b",".join(values))


class Bodies(SynchronousTestCase):
    """Whole bodies, as they came and inflated."""

    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, work: Any) -> Deferred[Any]:
        """Begin to read, and let the reactor go round."""
        reading = Deferred.fromCoroutine(work)
        self.clock.advance(0)
        return reading

    def read(self, body: bytes, *codings: str, limit: int = LIMIT) -> Body:
        """Read a body."""
        answer = as_response(response(body, *codings))
        got = self.successResultOf(self.start(read_body(answer, limit, self.clock, 20.0)))
        assert isinstance(got, Body)
        return got

    def document(self, body: bytes, *codings: str, limit: int = LIMIT) -> Deferred[bytes]:
        answer = as_response(response(body, *codings))
        return self.start(read_document(answer, limit, self.clock, 20.0))

    def test_without_a_coding(self) -> None:
        """A body without a coding is what it is, even if it could be inflated."""
        packed = gzip.compress(DOCUMENT)
        for coding in ("identity", "br", "none"):
            self.assertEqual([packed], list(self.read(packed, coding).candidates()))
        self.assertEqual("br", self.read(packed, "br").coding)

    def test_encoded(self) -> None:
        """A body with a coding may be what came, and what that is inflated."""
        for coding, packed in (
            ("gzip", gzip.compress(DOCUMENT)),
            ("deflate", zlib.compress(DOCUMENT)),
        ):
            body = self.read(packed, coding)
            self.assertEqual([packed, DOCUMENT], list(body.candidates()))
            self.assertEqual(DOCUMENT, body.document())

    def test_not_encoded(self) -> None:
        """A body that is not encoded, whatever its header says, is what came."""
        for coding in ("gzip", "deflate"):
            body = self.read(DOCUMENT, coding)
            self.assertEqual([DOCUMENT], list(body.candidates()))
            self.assertEqual(DOCUMENT, body.document())
        self.assertEqual(b"", self.read(b"", "gzip").document())

    def test_incomplete(self) -> None:
        """A body that is not encoded to its end is what came."""
        packed = gzip.compress(DOCUMENT)[:-3]
        self.assertEqual([packed], list(self.read(packed, "gzip").candidates()))

    def test_bomb(self) -> None:
        """What inflates beyond the limit is given up; what came may still be right."""
        bomb = gzip.compress(bytes(2 * LIMIT))
        readings = self.read(bomb, "gzip").candidates()
        self.assertEqual(bomb, next(readings))
        self.assertRaises(BodyTooLong, next, readings)
        self.failureResultOf(self.document(bomb, "gzip"), BodyTooLong)

    def test_limit(self) -> None:
        """As much as is allowed is inflated, and not a byte more."""
        packed = gzip.compress(b"[" + bytes(998) + b"]")
        self.assertEqual(1000, len(self.read(packed, "gzip", limit=1000).document()))
        self.failureResultOf(self.document(packed, "gzip", limit=999), BodyTooLong)

    def test_nothing_is_read_of_many_codings(self) -> None:
        """A body encoded twice is not read."""
        answer = response(gzip.compress(gzip.compress(DOCUMENT)), "gzip, gzip")
        reading = self.start(read_body(as_response(answer), LIMIT, self.clock, 20.0))
        self.failureResultOf(reading, Unusable)

    def test_in_rounds(self) -> None:
        """Much is inflated in several rounds of the reactor."""
        data = bytes(1_000_000)
        answer = as_response(response(gzip.compress(data), "gzip"))
        reading = Deferred.fromCoroutine(read_body(answer, LIMIT, self.clock, 20.0))
        self.assertNoResult(reading)
        self.clock.advance(0)
        self.assertEqual(data, self.successResultOf(reading).inflated)

    def test_document(self) -> None:
        """A document is the reading that looks like JSON."""
        self.assertEqual(DOCUMENT, self.successResultOf(self.document(DOCUMENT)))
        packed = gzip.compress(DOCUMENT)
        self.assertEqual(DOCUMENT, self.successResultOf(self.document(packed, "x-gzip")))
        self.assertEqual(packed, self.successResultOf(self.document(packed)))
        self.assertEqual(b"<html>", self.successResultOf(self.document(b"<html>", "gzip")))
        for text, expected in ((b"{}", True), (b" \r\n\t[", True), (b"<", False), (b"", False)):
            self.assertEqual(expected, looks_like_json(text))
