"""Ranges far ahead of a transfer."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.pullthrough.far import FarLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, RangeInvalid, TooManyRequests
from oci_registry.spec.ranges import ByteRange, RequestedRange
from oci_registry.spec.reference import content_key
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.pipe import HIGH_WATER
from tests.support.fake_upstream import FakeBody
from tests.support.patterns import noise
from tests.support.streams import Reader
from tests.unit.pullthrough.support import CacheTestCase

LIMITS = FarLimits()
MIB = 1024 * 1024
SIZE = 20 * MIB
DATA = noise(7, SIZE)
DIGEST = Digest.of(DATA)
TOC = (SIZE - 2 * MIB, SIZE - MIB)


class FarTestCase(CacheTestCase):
    """A blob of 20 MiB, and somebody who wants something near its end."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA, DIGEST)
        self.upstream.manual = True

    def begin(self, start: int, stop: int | None) -> Deferred[OpenBlob]:
        return self.start(self.blobs.open(self.target, self.digest, 0, RequestedRange(start, stop)))

    def ask(self, asked: RequestedRange) -> OpenBlob:
        opening = self.start(self.blobs.open(self.target, self.digest, 0, asked))
        return self.successResultOf(opening)

    def open(self, start: int = TOC[0], stop: int | None = TOC[1]) -> OpenBlob:
        return self.successResultOf(self.begin(start, stop))

    def read(self, start: int = TOC[0], stop: int = TOC[1]) -> Reader:
        """Return a reader of a range."""
        reader = Reader(self.open(start, stop).source(start, stop))
        reader.read()
        return reader

    def parts(self) -> list[str]:
        """Return the ranges that upstream was asked for."""
        return [words[3] for words in map(str.split, self.upstream.asked) if len(words) == 4]

    def fetching(self) -> float:
        return self.counted("oci_registry_far_ranges_in_flight")

    def whole(self) -> None:
        """Let the transfer come to its end."""
        body = self.upstream.bodies[0]
        body.send(DATA)
        body.end()


class Far(FarTestCase):
    """What is fetched beside the transfer."""

    def test_streamed(self) -> None:
        """It comes before what lies before it, is not stored, and the transfer continues."""
        reader = self.read()
        self.assertEqual([f"{TOC[0]}-{TOC[1]}"], self.parts())
        self.assertEqual(1, self.fetching())
        part = self.upstream.bodies[1]
        part.send(part.data)
        part.end()
        reader.read()
        self.assertTrue(reader.got == DATA[slice(*TOC)])
        self.assertTrue(reader.ended)
        self.assertEqual(set(), self.stored())
        reader.source.close()
        reader.source.close()
        self.assertEqual((0, 1), (self.fetching(), self.counted("oci_registry_far_ranges_total")))
        counted = self.counted("oci_registry_upstream_bytes_total", namespace="example.com")
        self.assertEqual(MIB, counted)
        self.whole()
        self.assertEqual(1, len(self.stored()))
        self.assertTrue(self.open(*TOC).cached)

    def test_size(self) -> None:
        """It tells how long the whole is, even where the transfer does not know."""
        for says_size in (True, False):
            self.setUp()
            self.upstream.says_size = says_size
            self.assertEqual(SIZE, self.open().size)

    def test_end(self) -> None:
        """The last bytes, and all from a place near the end on, are fetched beside the transfer."""
        for asked, start in (
            (RequestedRange(suffix=47), SIZE - 47),
            (RequestedRange(suffix=MIB), SIZE - MIB),
            (RequestedRange(SIZE - 100), SIZE - 100),
            (RequestedRange(TOC[0]), TOC[0]),
        ):
            self.setUp()
            blob = self.ask(asked)
            self.assertEqual([f"{start}-{SIZE}"], self.parts())
            self.assertEqual(ByteRange(start, SIZE), blob.part(asked))
            reader = Reader(blob.source(start, SIZE))
            reader.read()
            part = self.upstream.bodies[1]
            part.send(part.data)
            part.end()
            reader.read()
            self.assertTrue(reader.got == DATA[start:])
            reader.source.close()
            self.assertEqual(0, self.fetching())

    def test_end_of_unknown_length(self) -> None:
        """If upstream announces no length, it tells it with one byte; a hint saves that request."""
        for asked in (RequestedRange(suffix=100), RequestedRange(SIZE - 100)):
            for hint in (None, SIZE, SIZE + 5, SIZE - 5, SIZE * 2, 1000):
                if hint == 1000 and asked.suffix is not None:
                    continue  # It would be near.
                self.setUp()
                self.upstream.says_size = False
                if hint is not None:
                    self.sizes._hints.put(
                        content_key("example.com", "library/app", self.digest), hint
                    )
                blob = self.ask(asked)
                self.assertEqual((SIZE, True), (blob.size, blob.sure), hint)
                self.assertEqual(f"{SIZE - 100}-{SIZE}", self.parts()[-1])
                self.assertLessEqual(len(self.parts()), 1 if hint == SIZE else 2)
                self.assertEqual(ByteRange(SIZE - 100, SIZE), blob.part(asked))
                blob.close()
                self.assertTrue(all(body.abandoned for body in self.upstream.bodies[1:]))
                self.assertEqual(0, self.fetching())

    def test_clamped(self) -> None:
        """A range that goes beyond the end ends with the blob."""
        blob = self.open(SIZE - 10, SIZE + 5)
        self.assertEqual([f"{SIZE - 10}-{SIZE}"], self.parts())
        reader = Reader(blob.source(SIZE - 10, SIZE))
        reader.read()
        self.upstream.bodies[1].send(DATA[-10:])
        self.upstream.bodies[1].end()
        reader.read()
        self.assertEqual(DATA[-10:], bytes(reader.got))

    def test_flow_control(self) -> None:
        """A client that reads slowly slows this one body, and no more than 512 KiB wait for it."""
        reader = Reader(self.open().source(*TOC), 1000)
        reader.read(1)
        part = self.upstream.bodies[1]
        part.send(part.data[: HIGH_WATER + 2000])
        self.assertTrue(part.paused)
        self.assertFalse(self.upstream.bodies[0].paused)
        reader.read(300)
        self.assertFalse(part.paused)

    def test_client_leaves(self) -> None:
        """When the client leaves, before or while it reads, upstream is told."""
        self.open().close()
        self.assertTrue(self.upstream.bodies[1].abandoned)
        reader = self.read()
        self.upstream.bodies[2].send(bytes(1000))
        reader.source.close()
        self.assertTrue(self.upstream.bodies[2].stopped)
        self.assertFalse(self.upstream.bodies[0].stopped)
        self.assertEqual(0, self.fetching())

    def test_client_leaves_while_upstream_is_asked(self) -> None:
        """A client that leaves before upstream has answered takes no place."""
        self.open(0, None)
        self.upstream.holding = True
        opening = self.begin(*TOC)
        self.assertEqual(1, self.fetching())
        opening.cancel()
        self.failureResultOf(opening)
        self.assertEqual(0, self.fetching())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_breaks(self) -> None:
        """If upstream breaks for good, or sends less than it said, the client is closed short."""
        for error in (BadGateway("it broke"), None):
            self.setUp()
            reader = self.read()
            part = self.upstream.bodies[1]
            part.send(part.data[:1000])
            part.data = part.data[:1000]
            part.end(error)
            reader.read()
            self.assertEqual(1000, len(reader.got))
            self.assertIsInstance(reader.error, TransferFailed)
            reader.source.close()
            self.assertEqual(0, self.fetching())

    def test_other_part_than_expected(self) -> None:
        """A client that asks for something else in the end gets it from the transfer."""
        reader = Reader(self.open().source(0, SIZE))
        reader.read()
        self.assertTrue(self.upstream.bodies[1].abandoned)
        self.whole()
        reader.read()
        self.assertTrue(reader.got == DATA)


class Near(FarTestCase):
    """What is better waited for."""

    def follows(self, start: int, stop: int | None) -> None:
        """It is served from the transfer, and nothing else is asked for."""
        before = self.fetching()
        blob = self.open(start, stop)
        self.assertEqual(before, self.fetching())
        reader = Reader(blob.source(start, SIZE if stop is None else min(stop, SIZE)))
        reader.read()
        self.whole()
        reader.read()
        self.assertTrue(DATA[start : stop or SIZE] == reader.got[: (stop or SIZE) - start])
        reader.source.close()

    def test_near(self) -> None:
        """A range that the transfer will soon have got to is waited for."""
        self.follows(LIMITS.distance, LIMITS.distance + 100)
        self.assertEqual([], self.parts())
        self.limit(far=FarLimits(longest=SIZE))
        for asked in (
            RequestedRange(LIMITS.distance),
            RequestedRange(suffix=SIZE - LIMITS.distance),
        ):
            self.ask(asked)
            self.assertEqual([], self.parts())

    def test_beyond_the_end(self) -> None:
        """What lies beyond the end is nowhere."""
        for asked in (RequestedRange(SIZE), RequestedRange(suffix=0)):
            blob = self.ask(asked)
            self.assertRaises(RangeInvalid, blob.part, asked)
        self.assertEqual([], self.parts())

    def test_unknown_length_and_near(self) -> None:
        """If the length that upstream tells with one byte makes a range a near one, it is waited for."""
        self.upstream.says_size = False
        self.limit(far=FarLimits(distance=SIZE))
        self.assertIsNone(self.ask(RequestedRange(suffix=100)).size)
        self.assertEqual((["0-1"], 0), (self.parts(), self.fetching()))

    def test_transfer_has_come_closer(self) -> None:
        """It counts how much the transfer has received."""
        self.open(0, None)
        body = self.upstream.bodies[0]
        body.send(DATA[: 2 * MIB])
        self.open()
        self.assertEqual([], self.parts())

    def test_open(self) -> None:
        """A range without an end is not fetched far from it: nobody knows how much of it is wanted."""
        self.limit(far=FarLimits(longest=SIZE - TOC[0] - 1))
        self.follows(TOC[0], None)
        self.assertEqual([], self.parts())

    def test_long(self) -> None:
        """A range that is very long is not fetched beside the transfer."""
        self.assertLess(LIMITS.distance, LIMITS.longest)
        self.limit(far=FarLimits(longest=MIB - 1))
        self.follows(*TOC)
        self.assertEqual([], self.parts())

    def test_many(self) -> None:
        """There are at most 16 at once; a client that comes too late for that waits for the transfer."""
        for _ in range(LIMITS.at_once):
            self.read()
        late = self.begin(*TOC)
        self.clock.advance(LIMITS.permit_timeout - 0.1)
        self.assertNoResult(late)
        self.clock.advance(0.1)
        self.assertEqual((LIMITS.at_once, LIMITS.at_once), (self.fetching(), len(self.parts())))
        reader = Reader(self.successResultOf(late).source(*TOC))
        reader.read()
        self.whole()
        reader.read()
        self.assertTrue(DATA[slice(*TOC)] == reader.got[:MIB])

    def test_others_have_their_own(self) -> None:
        """An upstream whose bodies stall takes the places of no other, unless there are too many in all."""
        self.limit(far=FarLimits(most=LIMITS.at_once + 2))
        for _ in range(LIMITS.at_once):
            self.read()
        for number in range(3):
            other = self.other(f"other{number}.test")
            upstream = other.upstream
            upstream.manual = True
            upstream.add_blob(DATA, DIGEST)
            asked = RequestedRange(*TOC)
            opening = self.start(self.blobs.open(other, self.digest, 0, asked))
            blob = self.successResultOf(opening)
            self.assertEqual(int(number < 2), len(upstream.bodies))
            self.addCleanup(blob.close)
        self.assertEqual(LIMITS.at_once + 2, self.fetching())

    def test_nothing_is_kept(self) -> None:
        """Nothing is kept of an upstream none of whose ranges is being fetched or waited for."""
        readers = [self.read() for _ in range(LIMITS.at_once)]
        late = self.begin(*TOC)
        self.clock.advance(LIMITS.permit_timeout)
        self.successResultOf(late)
        for reader in readers:
            reader.source.close()
        self.assertEqual({}, self.blobs._far._permits)

    def test_room(self) -> None:
        """One that ends makes room for the next, in the order in which they came."""
        readers = [self.read() for _ in range(LIMITS.at_once)]
        late = [self.begin(*TOC) for _ in range(3)]
        late[1].cancel()
        self.failureResultOf(late[1], CancelledError)
        for number, opening in enumerate((late[0], late[2]), 1):
            self.assertNoResult(opening)
            readers[number].source.close()
            self.successResultOf(opening)
            self.assertEqual(
                (LIMITS.at_once, LIMITS.at_once + number), (self.fetching(), len(self.parts()))
            )

    def test_room_too_late(self) -> None:
        """If the transfer has come to its end meanwhile, the range comes from the store."""
        readers = [self.read() for _ in range(LIMITS.at_once)]
        late = self.begin(*TOC)
        self.whole()
        readers[0].source.close()
        self.assertTrue(self.successResultOf(late).cached)
        self.assertEqual(LIMITS.at_once, len(self.parts()))

    def test_refused(self) -> None:
        """If upstream sends no parts, or fails, it is waited for."""
        for error in (None, TooManyRequests("slow down")):
            self.setUp()
            self.open(0, None)
            self.upstream.whole, self.upstream.error = error is None, error
            opening = self.begin(*TOC)
            self.upstream.error = None
            reader = Reader(self.successResultOf(opening).source(*TOC))
            reader.read()
            self.whole()
            reader.read()
            self.assertTrue(DATA[slice(*TOC)] == reader.got[:MIB])
            self.assertEqual((1, 0), (len(self.parts()), self.fetching()))
            self.assertEqual(0, self.counted("oci_registry_far_ranges_total"))

    def test_silent(self) -> None:
        """If upstream does not answer for some seconds, it is waited for, and the client not kept."""
        self.open(0, None)
        self.upstream.holding = True
        opening = self.begin(*TOC)
        self.clock.advance(LIMITS.answer_timeout - 0.1)
        self.assertNoResult(opening)
        self.clock.advance(0.1)
        self.assertEqual(SIZE, self.successResultOf(opening).size)
        self.assertEqual(0, self.fetching())

    def test_committed_while_upstream_is_asked(self) -> None:
        """If the transfer has come to its end meanwhile, the range comes from the store."""
        self.open(0, None)
        self.upstream.holding = True
        self.upstream.whole = True
        opening = self.begin(*TOC)
        self.whole()
        self.upstream.release()
        blob = self.successResultOf(opening)
        self.assertTrue(blob.cached)
        reader = Reader(blob.source(*TOC))
        reader.read()
        self.assertTrue(reader.got == DATA[slice(*TOC)])
        self.assertEqual(1, self.counted("blob_cache_hits", namespace="example.com"))

    def test_other_size(self) -> None:
        """An upstream that does not give the blob's length with the part is not trusted."""
        for size in (SIZE + 1, None):
            self.setUp()
            self.open(0, None)

            async def part(*_: object, size: int | None = size) -> FakeBody:
                body = FakeBody(bytes(MIB), size, manual=True)
                self.upstream.bodies.append(body)
                return body

            self.patch(type(self.upstream), "part", part)
            blob = self.open()
            self.assertEqual((SIZE, 0), (blob.size, self.fetching()))
            self.assertTrue(self.upstream.bodies[1].abandoned)
