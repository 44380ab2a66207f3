"""A blob whose body is encoded continues, too, and is read the other way if it was wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.streams.test_inflate import tar
from tests.unit.upstream.bodies import CUT, DATA, ResumeTestCase
from tests.unit.upstream.support import APP, A, B, blob_of

LAYER = gzip.compress(tar(DATA), 0, mtime=0)
PACKED = gzip.compress(LAYER, 0, mtime=0)
BLOB = Digest.of(LAYER)


def labelled(data: bytes, length: int | None = None) -> Callable[[Sent], Answer]:
    """Return what answers with *data*, in parts too, and says gzip; wholes break after *length* bytes."""

    def answer(sent: Sent) -> Answer:
        good = cast(FakeResponse, blob_of(data)(sent))
        good.headers.setRawHeaders(b"Content-Encoding", [b"gzip"])
        if length is not None and good.code == 200:
            good._body, good._error = good._body[:length], CUT
        return good

    return answer


class Encoded(ResumeTestCase):
    """A blob at two hosts, under a coding at the first."""

    def pump_layer(self, size: int | None = None) -> Deferred[int]:
        """Begin to send it."""
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB, size)))
        sent: Deferred[int] = self.body.pump(self.sink)
        self.clock.pump([0] * 20)
        return sent

    def arrived(self, sent: Deferred[int], data: bytes = LAYER) -> None:
        """The reader has had *data* once."""
        self.assertEqual(len(data), self.successResultOf(sent))
        self.assertTrue(self.sink.data == data)
        self.over()

    def test_inflated(self) -> None:
        """What is inflated breaks: the whole is asked for again, and what is there already skipped."""
        self.in_turn(A, labelled(PACKED, 700_000), labelled(PACKED))
        self.arrived(self.pump_layer(len(LAYER)))
        self.assertEqual([None, None], self.ranges())

    def test_as_it_came(self) -> None:
        """What is not inflated continues with a range, under the same coding."""
        for size in (None, len(LAYER)):
            self.setUp()
            self.in_turn(A, labelled(LAYER, 700_000), labelled(LAYER))
            self.arrived(self.pump_layer(size))
            self.assertEqual([None, "bytes=700000-"], self.ranges())

    def test_at_another_host(self) -> None:
        """Where one host inflates nothing, another continues with a range of its own."""
        self.in_turn(A, labelled(PACKED, 700_000), lambda _: FakeResponse(404))
        self.answer(B, blob_of(LAYER))
        self.arrived(self.pump_layer(len(LAYER)))
        (ranged,) = self.ranges(B)
        assert ranged is not None
        self.assertTrue(ranged.startswith("bytes="))

    def test_the_other_way(self) -> None:
        """What was wrong is read the other way the next time, but not a third time."""
        packed = gzip.compress(tar(DATA))
        self.answer(A, labelled(packed))
        self.arrived(self.pump_layer(), packed)
        self.assertTrue(self.body.switch_decoding())
        self.sink.data = b""
        self.arrived(self.pump_layer(), tar(DATA))
        self.assertFalse(self.body.switch_decoding())

    def test_unexpected_length(self) -> None:
        """What was read the wrong way ends where it ends: that it is too short is no break."""
        packed = gzip.compress(tar(bytes(DATA)), 9)

        def chunked(sent: Sent) -> Answer:
            return FakeResponse(body=packed, headers={"Content-Encoding": "gzip"}, sized=False)

        self.answer(A, chunked)
        self.arrived(self.pump_layer(len(tar(DATA))), packed)
        self.assertEqual(1, self.asked_of(A))
        self.assertTrue(self.body.switch_decoding())

    def test_more_than_was_known(self) -> None:
        """What inflates to more than the blob has bytes ends there: it may be right the other way."""
        self.answer(A, labelled(LAYER))
        self.arrived(self.pump_layer(1000), tar(DATA)[:1000])
        self.assertEqual(1, self.asked_of(A))
        self.assertTrue(self.body.switch_decoding())

    def test_without_a_coding(self) -> None:
        """A body that was sent as it is has no other way."""
        self.answer(A, blob_of(LAYER))
        self.arrived(self.pump_layer())
        self.assertFalse(self.body.switch_decoding())
