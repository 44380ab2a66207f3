"""Where a body ends: as announced, as a manifest says, or as a host tells who asks beyond it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.errors import BadGateway
from oci_registry.upstream.resume import GOOD_PROGRESS, MAX_USELESS
from tests.support.fake_http import FakeResponse, Sent
from tests.unit.upstream.bodies import BLOB, CUT, DATA, ResumeTestCase
from tests.unit.upstream.support import APP, A, B

SIZE = len(DATA)


def unsized(length: int, error: Exception | None = None) -> FakeResponse:
    """Return so many bytes of a body of unannounced length, which then ends as if that were all."""
    return FakeResponse(body=DATA[:length], sized=False, error=error)


def beyond(end: int) -> FakeResponse:
    """Return what is said to who asks for bytes behind the last; the body is not the blob's."""
    return FakeResponse(416, b"no", {"Content-Range": f"bytes */{end}"})


class Ends(ResumeTestCase):
    """Bodies that do not say how long they are."""

    def pumped(self, size: int | None) -> Deferred[int]:
        """Begin to send the blob, whose size a manifest may have said."""
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB, size)))
        self.assertIsNone(self.body.size)
        sent: Deferred[int] = self.body.pump(self.sink)
        self.clock.pump([1.0] * 10)
        return sent

    def test_short_of_the_manifest(self) -> None:
        """A body that ends before the size that a manifest tells may be cut: another host is asked."""
        self.answer(A, unsized(GOOD_PROGRESS))
        self.whole(self.pumped(SIZE))
        self.assertEqual(([None], [f"bytes={GOOD_PROGRESS}-"]), (self.ranges(), self.ranges(B)))

    def test_manifest_that_tells_too_much(self) -> None:
        """If no host has more, that was all, whatever the manifest tells; the digest decides."""
        for more in (beyond(SIZE), FakeResponse(404), FakeResponse(500), unsized(SIZE)):
            self.setUp()
            self.answer(A, lambda s, m=more: m if "Range" in s.headers else unsized(SIZE))
            self.answer(B, more)
            sent = self.pumped(SIZE + 1)
            self.clock.pump([10.0] * 10)
            self.whole(sent)

    def test_manifest_that_tells_too_little(self) -> None:
        """What comes beyond the size that a manifest tells belongs to the blob, a break there too."""
        self.answer(A, unsized(SIZE))
        self.whole(self.pumped(SIZE - 1))
        self.setUp()
        self.answer(A, unsized(SIZE - 1, CUT))
        self.whole(self.pumped(GOOD_PROGRESS))
        self.assertEqual([f"bytes={SIZE - 1}-"], self.ranges(B))

    def test_nobody_knows(self) -> None:
        """Without such a size its end is the end: the digest decides."""
        self.answer(A, unsized(GOOD_PROGRESS))
        self.assertEqual(GOOD_PROGRESS, self.successResultOf(self.pumped(None)))
        self.assertEqual(1, len(self.asked))
        self.over()

    def test_broken_after_the_last_byte(self) -> None:
        """A connection that breaks when all that is known to come has come is as good as an end."""
        self.answer(A, unsized(SIZE, CUT))
        self.whole(self.pumped(SIZE))
        self.assertEqual(1, len(self.asked))

    def test_nothing_beyond(self) -> None:
        """A host that answers that nothing follows has shown that the blob is complete."""
        self.in_turn(A, lambda _: unsized(SIZE, CUT), lambda _: beyond(SIZE))
        self.whole(self.pumped(None))
        self.assertEqual([None, f"bytes={SIZE}-"], self.ranges())

    def test_end_elsewhere(self) -> None:
        """A host that says that the blob ends somewhere else is ignored."""
        for end in (0, GOOD_PROGRESS - 1, GOOD_PROGRESS + 1):
            self.setUp()
            self.in_turn(A, lambda _: unsized(GOOD_PROGRESS, CUT), lambda _, e=end: beyond(e))
            self.answer(B, FakeResponse(400))
            self.fails(self.pumped(None), BadGateway)
            self.assertEqual(1 + MAX_USELESS + 1, self.asked_of(A))

    def test_small_parts(self) -> None:
        """A server that sends in parts smaller than asked is read on without a pause."""
        part = 16 * 1024

        def parts(sent: Sent) -> FakeResponse:
            start = int((sent.headers.get("Range") or "bytes=0-")[6:-1])
            if not start:
                return FakeResponse(body=DATA[:part], error=CUT, length=SIZE)
            stop = min(start + part, SIZE)
            told = {"Content-Range": f"bytes {start}-{stop - 1}/{SIZE}"}
            return FakeResponse(206, DATA[start:stop], told)

        self.answer(A, parts)
        self.answer(B, parts)
        sent = self.successResultOf(self.start(self.upstream.blob(APP, BLOB))).pump(self.sink)
        self.clock.advance(0.25)
        self.whole(sent)

    def test_host_with_less(self) -> None:
        """What one host has too little of comes from another, if it is known how much it is."""

        def less(sent: Sent) -> FakeResponse:
            return beyond(GOOD_PROGRESS) if "Range" in sent.headers else unsized(GOOD_PROGRESS)

        self.answer(A, less)
        self.whole(self.pumped(SIZE))
        self.assertEqual([f"bytes={GOOD_PROGRESS}-"], self.ranges(B))
        self.assertEqual({A, B}, self.body.hosts)
