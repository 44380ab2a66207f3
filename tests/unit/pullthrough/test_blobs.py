"""Blobs: from the store, from a transfer under way, or from one that is started."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.pullthrough.store_health import READ
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BlobUnknown
from oci_registry.storage.keys import blob_key
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.interfaces import Source
from tests.support.streams import LIMITS
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 1200


class BlobTestCase(CacheTestCase):
    """An upstream with one blob."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)
        self.upstream.manual = True

    def begin(self, digest: Digest | None = None, head: int = 0) -> Deferred[OpenBlob]:
        return self.start(self.blobs.open(self.target, digest or self.digest, head))

    def open(self, digest: Digest | None = None, head: int = 0) -> OpenBlob:
        return self.successResultOf(self.begin(digest, head))

    def finish(self) -> None:
        """Let the download that was begun last continue to its end."""
        body = self.upstream.bodies[-1]
        body.send(body.data)
        body.end()

    def drain(self, source: Source) -> bytes:
        """Read what a source gives at once."""
        data = b""
        while True:
            piece = source.read(50_000)
            if isinstance(piece, Deferred):
                piece = self.successResultOf(piece)
            if not piece:
                source.close()
                return data
            data += piece

    def pull(self, digest: Digest | None = None, start: int = 0, stop: int | None = None) -> bytes:
        """Return a blob, from upstream or from the store."""
        blob = self.open(digest)
        source = blob.source(start, stop)
        if not blob.cached:
            self.finish()
        return self.drain(source)

    def pulled(self) -> None:
        """Have the blob in the store."""
        self.pull()
        self.upstream.asked.clear()


class Opened(BlobTestCase):
    """Blobs to be read."""

    def test_cold_and_warm(self) -> None:
        """A blob comes from upstream once, and from the store from then on, also after a restart."""
        cold = self.open()
        self.assertEqual((len(DATA), False), (cold.size, cold.cached))
        source = cold.source(0, None)
        self.finish()
        self.assertEqual(DATA, self.drain(source))
        for _ in range(2):
            warm = self.open()
            self.assertEqual((len(DATA), True), (warm.size, warm.cached))
            self.assertEqual(DATA, self.drain(warm.source(0, None)))
            self.restart()
        self.assertEqual(1, len(self.upstream.asked))

    def test_under_way(self) -> None:
        """A blob under way is joined, without a look into the store."""
        first = self.open().source(1000, None)
        self.driver.broken = "not to be asked"
        second = self.open().source(0, None)
        self.driver.broken = None
        self.finish()
        self.assertEqual(DATA, self.drain(second))
        self.assertEqual(DATA[1000:], self.drain(first))
        self.assertEqual(1, len(self.upstream.asked))

    def test_ranges(self) -> None:
        """Ranges are the same from the store as from a transfer."""
        self.assertEqual(DATA[70_000:], self.pull(None, 70_000))
        for start, stop in ((0, 1), (5, 90_000), (len(DATA) - 1, len(DATA)), (70_000, None)):
            for head in (0, 100, 10**6):
                self.assertEqual(
                    DATA[start:stop], self.drain(self.open(head=head).source(start, stop))
                )

    def test_unknown(self) -> None:
        """What upstream does not have is a 404."""
        missing = Digest.of(b"missing")
        self.failureResultOf(self.begin(missing), BlobUnknown)

    def test_wrong_in_the_store(self) -> None:
        """A wrong blob that somebody put into the store is replaced from upstream."""
        for wrong in (DATA[:-1], b"", DATA[:-1] + b"x"):
            self.driver.place(blob_key(self.digest), wrong, sealed=False)
            self.assertEqual(DATA, self.pull())
            self.restart()
            self.assertTrue(self.open().cached)

    def test_right_in_the_store(self) -> None:
        """A right one is served without a download."""
        self.driver.place(blob_key(self.digest), DATA, sealed=False)
        self.assertEqual(DATA, self.pull())
        self.assertEqual([], self.upstream.asked)

    def test_empty(self) -> None:
        """The empty blob is opened only when it is known to be right: nothing could be held back."""
        empty = self.upstream.add_blob(b"")
        opening = self.begin(empty)
        self.assertNoResult(opening)
        self.finish()
        self.assertEqual(b"", self.drain(self.successResultOf(opening).source(0, None)))
        self.upstream.blobs[str(self.digest)] = b""
        opening = self.begin()
        self.finish()
        self.failureResultOf(opening, TransferFailed)

    def test_closed_unread(self) -> None:
        """A blob that is opened and closed is not in use any more."""
        self.pulled()
        blob = self.open()
        self.assertTrue(self.blob_store.in_use(self.digest))
        blob.close()
        self.assertFalse(self.blob_store.in_use(self.digest))
        source = self.open().source(0, None)
        self.assertTrue(self.blob_store.in_use(self.digest))
        source.close()
        self.assertFalse(self.blob_store.in_use(self.digest))

    def test_broken_store(self) -> None:
        """A store that cannot be read is not the reason that a pull fails."""
        self.pulled()
        self.driver.broken = "disk on fire"
        blob = self.open()
        self.assertFalse(blob.cached)
        self.assertGreater(self.counted("oci_registry_errors_total", kind="store"), 0)

    def test_truncated(self) -> None:
        """A blob that loses its end while it is read goes on from a download; the store works all the same."""
        self.pulled()
        source = self.open().source(0, None)
        got = source.read(50_000)
        (reader,) = self.blob_store._readers[self.digest]
        self.patch(reader._stored, "_data", DATA[:50_000])
        self.driver._objects.pop(blob_key(self.digest))
        reading = source.read(50_000)
        assert isinstance(got, bytes)
        assert isinstance(reading, Deferred)
        self.finish()
        self.assertEqual(DATA, got + self.successResultOf(reading) + self.drain(source))
        self.assertTrue(self.health.works(READ))
        self.assertEqual(1, self.counted("oci_registry_errors_total", kind="store"))
        self.assertEqual(DATA, self.pull())

    def test_counted(self) -> None:
        """Hits and misses are counted by registry; a joined transfer is a miss."""
        self.open()
        self.open()
        self.finish()
        self.open().close()
        for name, expected in (("blob_cache_hits", 1), ("blob_cache_misses", 2)):
            self.assertEqual(expected, self.counted(name, namespace="example.com"))


class Tail(BlobTestCase):
    """What a reader may have of a blob that is not verified yet."""

    def test_held_back(self) -> None:
        """The last bytes come only when all have been verified."""
        source = self.open().source(0, None)
        self.upstream.bodies[0].send(DATA)
        self.clock.advance(1)
        data = b""
        while not isinstance(piece := source.read(10**6), Deferred):
            data += piece
        self.assertEqual(len(DATA) - LIMITS.tail, len(data))
        self.upstream.bodies[0].end()
        self.assertEqual(DATA, data + self.successResultOf(piece) + self.drain(source))
