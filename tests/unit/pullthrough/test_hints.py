"""Sizes that manifests state: hints, whatever they are worth."""

from __future__ import annotations

from oci_registry.pullthrough.blobs import SETTLING
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RangeInvalid
from oci_registry.spec.ranges import ByteRange, RequestedRange
from oci_registry.storage.keys import blob_key
from oci_registry.streams.follower import WrongLength
from tests.support.streams import LIMITS, Reader
from tests.unit.pullthrough.blob_case import DATA, HintTestCase

SIZE = len(DATA)
WRONG = (SIZE + 1, SIZE - 1, 2 * SIZE, 1, 0, -1, str(SIZE), float(SIZE), True, None, 2**70)


class UpstreamSays(HintTestCase):
    """Upstream announces the length."""

    def test_wrong_hints(self) -> None:
        """Whatever a manifest states, the blob is served as long as upstream says, and stored."""
        for size in WRONG:
            self.setUp()
            self.stated(size)
            blob = self.open()
            self.assertEqual((SIZE, True), (blob.size, blob.sure), size)
            reader = Reader(blob.source(0, blob.size))
            self.finish()
            reader.read()
            self.assertTrue(reader.got == DATA)
            self.assertEqual(f"GET library/app {self.digest}", self.upstream.asked[0])
            self.assertIn(blob_key(self.digest), self.stored())
            self.assertIn(self.hint(), (None, SIZE), "it is forgotten at once")

    def test_stored(self) -> None:
        """A stored blob is served, and its length told, whatever a manifest states."""
        for size in WRONG:
            self.setUp()
            self.open()
            self.finish()
            self.stated(size)
            self.assertEqual(SIZE, self.now(self.blobs.size(self.target, self.digest)).size)
            self.stated(size, "again")
            blob = self.open()
            self.assertEqual((SIZE, True), (blob.size, blob.cached))
            blob.close()
            self.assertEqual(1, len(self.upstream.bodies))
            self.assertIn(blob_key(self.digest), self.stored())

    def test_last_manifest(self) -> None:
        """A right manifest that is served after a wrong one counts; one from the memory as well."""
        for tag, size in (("good", SIZE), ("bad", 5)):
            self.stated(size, tag)
        self.assertEqual(5, self.hint())
        self.stated(SIZE, "good")
        self.assertEqual(SIZE, self.hint())


class UpstreamDoesNotSay(HintTestCase):
    """Upstream announces no length."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream.says_size = False

    def begun(self, size: int) -> Reader:
        """Open the blob with a hint, and return a reader of it."""
        self.stated(size)
        opening = self.begin()
        self.assertNoResult(opening)
        self.send(DATA[: 2 * LIMITS.tail])
        blob = self.successResultOf(opening)
        self.assertEqual((size, False), (blob.size, blob.sure))
        return Reader(blob.source(0, blob.size))

    def test_right(self) -> None:
        """What a manifest states is announced, and the blob served if it is right."""
        reader = self.begun(SIZE)
        reader.read()
        self.assertEqual(LIMITS.tail, len(reader.got))
        self.finish(DATA[2 * LIMITS.tail :])
        reader.read()
        self.assertEqual((True, True), (reader.got == DATA, reader.ended))

    def test_wrong(self) -> None:
        """If it is wrong the reader never gets all that was announced; the next one is told right."""
        for size in (SIZE - 1, SIZE + 1, SIZE - LIMITS.tail, 2 * SIZE, LIMITS.tail + 1):
            self.setUp()
            reader = self.begun(size)
            reader.read()
            self.assertLessEqual(len(reader.got), size - LIMITS.tail)
            self.finish(DATA[2 * LIMITS.tail :])
            reader.read()
            self.assertIsInstance(reader.error, WrongLength)
            self.assertLessEqual(len(reader.got), size - LIMITS.tail)
            self.assertEqual(SIZE, self.hint(), "it is known at once")
            blob = self.open()
            self.assertEqual((SIZE, True, True), (blob.size, blob.sure, blob.cached))
            blob.close()
            self.now(self.blob_store.discard(self.digest))
            self.assertEqual(1, len(self.upstream.bodies))

    def test_another_client(self) -> None:
        """A client that has no hint, or the right one, is served from the same download to the end."""
        self.begun(SIZE - 1)
        elsewhere = self.successResultOf(
            self.start(
                self.blobs.open(type(self.target)(self.upstream, "library/other"), self.digest, 0)
            )
        )
        self.assertIsNone(elsewhere.size)
        reader = Reader(elsewhere.source(0, None))
        self.finish(DATA[2 * LIMITS.tail :])
        reader.read()
        self.assertEqual((True, True), (reader.got == DATA, reader.ended))

    def test_small(self) -> None:
        """Of a small blob the true length is known before the first byte leaves, and told."""
        data = b"{}" * 50
        for size in (99, 101, 10**6):
            self.setUp()
            self.have(data)
            self.stated(size)
            opening = self.begin()
            self.finish(data)
            blob = self.successResultOf(opening)
            self.assertEqual((100, True), (blob.size, blob.sure))
            reader = Reader(blob.source(0, 100))
            reader.read()
            self.assertEqual(data, bytes(reader.got))

    def test_slow(self) -> None:
        """Nobody waits for that for longer than some seconds, also where nothing can be stored."""
        for broken in (None, "disk full"):
            self.setUp()
            self.stated(SIZE)
            self.driver.broken = broken
            opening = self.begin()
            self.clock.advance(SETTLING)
            blob = self.successResultOf(opening)
            self.assertEqual((SIZE, False), (blob.size, blob.sure))
            reader = Reader(blob.source(0, SIZE))
            reader.read()
            for start in range(0, SIZE, LIMITS.tail):
                self.send(DATA[start : start + LIMITS.tail])
                reader.read()
            self.finish(b"")
            reader.read()
            self.assertEqual((True, True), (reader.got == DATA, reader.ended))
            self.driver.broken = None

    def test_client_that_leaves(self) -> None:
        """A client that leaves meanwhile leaves nothing behind."""
        self.stated(SIZE)
        opening = self.begin()
        blob = self.transfers.running(self.target, self.digest)
        assert blob is not None
        self.assertEqual(1, blob.followers)
        opening.cancel()
        self.failureResultOf(opening)
        self.assertEqual(0, blob.followers)
        self.clock.advance(1)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_nothing_has_a_size(self) -> None:
        """A size of 0 is accepted only for the digest of nothing."""
        self.stated(0)
        self.assertIsNone(self.hint())
        self.have(b"")
        self.stated(0)
        self.assertEqual(0, self.hint())

    def test_ranges(self) -> None:
        """A range is found with a hint, but it is not refused because of one."""
        self.stated(1000)
        opening = self.begin(RequestedRange(2000))
        self.send(DATA[: 2 * LIMITS.tail])
        blob = self.successResultOf(opening)
        self.assertIsNone(blob.part(RequestedRange(2000)))
        self.assertEqual(ByteRange(5, 1000), blob.part(RequestedRange(5)))
        self.finish(DATA[2 * LIMITS.tail :])
        blob.close()
        stored = self.open()
        self.assertRaises(RangeInvalid, stored.part, RequestedRange(SIZE))
        stored.close()

    def test_not_for_the_store(self) -> None:
        """The store is not told a length that is only a hint."""
        told: list[int | None] = []
        create = self.blob_store.create

        async def created(digest: Digest, size: int | None = None) -> object:
            told.append(size)
            return await create(digest, size)

        self.patch(self.blob_store, "create", created)
        self.stated(SIZE + 1)
        opening = self.begin()
        self.assertEqual([None], told)
        opening.cancel()
        self.failureResultOf(opening)
