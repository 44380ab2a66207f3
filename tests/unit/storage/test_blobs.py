"""Blobs in a store: none is served that nobody has verified."""

from __future__ import annotations

from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import capturedLogs

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.storage.blobs import BlobStore, BlobStoreLimits
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.storage.open_blob import StoredBlob
from tests.support.streams import ManualThread, Reader, run_at_once
from tests.unit.storage.support import NOW, StoreTestCase

DATA = bytes(range(256)) * 10
DIGEST = Digest.of(DATA)
KEY = blob_key(DIGEST)


class BlobsTestCase(StoreTestCase):
    """A store that counts the bytes it hashes."""

    def setUp(self) -> None:
        super().setUp()
        self.hashed = 0
        real = Verifier.update

        def update(verifier: Verifier, data: bytes) -> None:
            self.hashed += len(data)
            real(verifier, data)

        self.patch(Verifier, "update", update)
        self.store = self.make()

    def make(self, *, check_always: bool = False, thread: ManualThread | None = None) -> BlobStore:
        """Return a store on the driver."""
        return BlobStore(self.driver, self.usage, thread or run_at_once, check_always=check_always)

    def commit(self, data: bytes = DATA) -> Digest:
        """Store a blob as a transfer does."""
        digest = Digest.of(data)
        writer = self.result(self.store.create(digest))
        writer.append(data)
        self.successResultOf(writer.commit())
        self.store.committed(digest, 0)
        return digest

    def read(self, blob: StoredBlob | None) -> bytes | None:
        """Read a blob whole, and close it."""
        if blob is None:
            return None
        reader = Reader(blob.source(0, blob.size), 1000)
        reader.read()
        reader.source.close()
        self.assertTrue(reader.ended)
        return bytes(reader.got)


class Serving(BlobsTestCase):
    """Which blobs are served."""

    def test_missing(self) -> None:
        """A blob that is not there is None, and has no size."""
        self.assertIsNone(self.result(self.store.open(DIGEST)))
        self.assertIsNone(self.result(self.store.size(DIGEST)))
        self.assertFalse(self.result(self.store.discard(DIGEST)))

    def test_ours(self) -> None:
        """A blob that was committed here is served without being hashed again."""
        self.commit()
        self.assertEqual(self.result(self.store.size(DIGEST)), len(DATA))
        self.assertEqual(self.read(self.result(self.store.open(DIGEST))), DATA)
        self.assertEqual(self.read(self.result(self.make().open(DIGEST, 100))), DATA)
        self.assertEqual(self.hashed, 0)

    def test_found(self) -> None:
        """A blob that somebody else put there is hashed once, before it is served the first time."""
        self.driver.place(KEY, DATA, sealed=False)
        self.assertEqual(self.read(self.result(self.store.open(DIGEST))), DATA)
        self.assertEqual(self.hashed, len(DATA))
        for store in (self.store, self.make()):
            self.assertEqual(self.read(self.result(store.open(DIGEST))), DATA)
            self.assertEqual(self.result(store.size(DIGEST)), len(DATA))
        self.assertEqual(self.hashed, len(DATA))

    def test_found_by_its_size(self) -> None:
        """Its size is not told before it is hashed either."""
        self.driver.place(KEY, DATA, sealed=False)
        self.assertEqual(self.result(self.store.size(DIGEST)), len(DATA))
        self.assertEqual(self.hashed, len(DATA))

    def test_found_wrong(self) -> None:
        """One that is truncated, or wrong in a byte, is removed and logged, and not served."""
        for wrong in (DATA[:-1], b"", DATA + b"x", b"x" + DATA[1:], DATA[:-1] + b"x"):
            for ask in (self.store.open, self.store.size):
                self.driver.place(KEY, wrong, sealed=False)
                with capturedLogs() as logs:
                    self.assertIsNone(self.result(ask(DIGEST)))
                self.assertIn("removed {digest}", logs[0]["log_format"])
                self.assertIsNone(self.used(KEY))
                self.assertFalse(self.store.in_use(DIGEST))

    def test_sha512(self) -> None:
        """The same holds for the other algorithm."""
        digest = Digest.of(DATA, "sha512")
        self.driver.place(blob_key(digest), DATA, sealed=False)
        self.assertEqual(self.read(self.result(self.store.open(digest))), DATA)
        self.driver.place(blob_key(digest), DATA[1:], sealed=False)
        self.assertIsNone(self.result(self.store.open(digest)))

    def test_another_size(self) -> None:
        """A blob of another size than its manifest gives is hashed, whoever put it there."""
        self.driver.place(KEY, DATA[:-1], sealed=True)
        self.assertIsNone(self.result(self.store.open(DIGEST, expected=len(DATA))))
        self.driver.place(KEY, DATA[:-1], sealed=True)
        self.assertIsNone(self.result(self.store.size(DIGEST, expected=len(DATA))))
        self.commit()
        self.hashed = 0
        self.assertIsNotNone(self.result(self.store.size(DIGEST, expected=len(DATA))))
        self.assertEqual(self.hashed, 0)
        opened = self.result(self.store.open(DIGEST, expected=1))
        self.assertEqual(self.read(opened), DATA)

    def test_check_always(self) -> None:
        """If so wished, every blob is hashed every time it is opened, and removed if it is wrong."""
        self.commit()
        store = self.make(check_always=True)
        for times in (1, 2, 3):
            self.assertEqual(self.read(self.result(store.open(DIGEST))), DATA)
            self.assertEqual(self.hashed, times * len(DATA))
        self.driver.place(KEY, DATA[:5] + b"!" + DATA[6:], sealed=True)
        self.assertIsNone(self.result(store.open(DIGEST)))
        self.assertIsNone(self.used(KEY))

    def test_large(self) -> None:
        """A large blob is hashed piece by piece."""
        self.driver.place(KEY, DATA, sealed=False)
        thread = ManualThread()
        limits = BlobStoreLimits(hashed_at_once=1000)
        store = BlobStore(self.driver, self.usage, thread, limits=limits, check_always=False)
        opening = Deferred.fromCoroutine(store.open(DIGEST))
        pieces = 0
        while thread.step():
            pieces += 1
        self.assertEqual(pieces, 3)
        self.assertEqual(self.read(self.successResultOf(opening)), DATA)

    def test_hashed_once_for_all(self) -> None:
        """Clients that want the same blob while it is hashed wait for that together."""
        for data, served in ((DATA, True), (DATA[1:], False)):
            self.driver.place(KEY, data, sealed=False)
            self.hashed = 0
            thread = ManualThread()
            store = self.make(thread=thread)
            waiting = [Deferred.fromCoroutine(store.open(DIGEST)) for _ in range(5)]
            sizes = [Deferred.fromCoroutine(store.size(DIGEST)) for _ in range(2)]
            for deferred in (*waiting, *sizes):
                self.assertNoResult(deferred)
            thread.run()
            self.assertEqual(self.hashed, len(data))
            for deferred in waiting:
                blob = self.successResultOf(deferred)
                self.assertEqual(blob is not None, served)
                self.assertEqual(self.read(blob), data if served else None)
            for size in sizes:
                self.assertEqual(self.successResultOf(size), len(data) if served else None)
            self.assertFalse(store.in_use(DIGEST))

    def test_client_leaves_while_it_is_hashed(self) -> None:
        """A client that leaves gives its blob back, and disturbs no other."""
        self.driver.place(KEY, DATA, sealed=False)
        thread = ManualThread()
        store = self.make(thread=thread)
        first = Deferred.fromCoroutine(store.open(DIGEST))
        second = Deferred.fromCoroutine(store.open(DIGEST))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertTrue(store.in_use(DIGEST))
        thread.run()
        self.assertEqual(self.read(self.successResultOf(second)), DATA)
        self.assertFalse(store.in_use(DIGEST))

    def test_seal_fails(self) -> None:
        """A blob that is right but cannot be marked so is served, and hashed again next time."""
        self.driver.place(KEY, DATA, sealed=False)
        with patch.object(self.driver, "seal", lambda key: fail(StoreError("not permitted"))):
            for times in (1, 2):
                with capturedLogs() as logs:
                    self.assertEqual(self.read(self.result(self.store.open(DIGEST))), DATA)
                self.assertIn("not permitted", [log.get("error") for log in logs])
                self.assertEqual(self.hashed, times * len(DATA))

    def test_medium_fails(self) -> None:
        """If the medium fails, that is raised, and nothing stays open."""
        self.commit()
        self.driver.broken = "I/O error"
        for work in (
            self.store.open(DIGEST),
            self.store.size(DIGEST),
            self.store.create(DIGEST),
            self.store.discard(DIGEST),
        ):
            self.assertEqual(self.fails(work, StoreError), "I/O error")
        self.driver.broken = None
        store = self.make(check_always=True)
        with patch.object(
            self.store._driver,
            "open",
            side_effect=[self.driver.open(KEY), fail(StoreError("gone"))],
        ):
            self.fails(store.open(DIGEST), StoreError)
        self.assertFalse(store.in_use(DIGEST))


class Keeping(BlobsTestCase):
    """What the sweep wants to know."""

    def test_in_use(self) -> None:
        """A blob is in use from its opening until each who has opened it has closed it."""
        self.commit()
        first, second = (self.result(self.store.open(DIGEST)) for _ in range(2))
        assert first is not None
        assert second is not None
        self.assertTrue(self.store.in_use(DIGEST))
        source = first.source(0, 5)
        source.close()
        source.close()
        first.close()
        self.assertTrue(self.store.in_use(DIGEST))
        second.close()
        self.assertFalse(self.store.in_use(DIGEST))

    def test_removed_while_it_is_read(self) -> None:
        """A blob that is removed is read to its end by who has it open."""
        self.commit()
        blob = self.result(self.store.open(DIGEST))
        self.assertTrue(self.result(self.store.discard(DIGEST)))
        self.assertEqual(self.read(blob), DATA)
        self.assertIsNone(self.result(self.store.open(DIGEST)))

    def test_uses(self) -> None:
        """Opening a blob, asking for its size and committing it are uses of it."""
        self.commit()
        for use in (self.store.open, self.store.size):
            self.clock.advance(1000)
            self.assertFalse(self.store.used_since(DIGEST, self.clock.seconds()))
            self.result(use(DIGEST))
            self.assertTrue(self.store.used_since(DIGEST, self.clock.seconds() - 1))
            self.assertEqual(self.used(KEY), self.clock.seconds())
        ((digest, info),) = self.listed(self.store.list())
        self.assertEqual((digest, info.used, info.size), (DIGEST, NOW + 2000, len(DATA)))

    def test_needed(self) -> None:
        """A blob that something needs counts as used when that was, if that was later."""
        self.commit()
        self.store.needed(DIGEST, NOW - 50)
        self.assertEqual(self.used(KEY), NOW)
        self.store.needed(DIGEST, NOW + 50)
        self.assertEqual(self.used(KEY), NOW + 50)

    def test_list(self) -> None:
        """Everything that is a blob is listed, and nothing that is not."""
        other = self.commit(b"other")
        self.commit()
        for key in ("blobs/sha256/ab/cd", "blobs/sha256/README", "blobs/x", "blobs/md5/ab/cd"):
            self.driver.place(key, b"foreign", sealed=False)
        self.assertEqual({d for d, _ in self.listed(self.store.list())}, {DIGEST, other})

    def test_age_of_what_was_found(self) -> None:
        """What somebody else put there long ago counts as used when this store began."""
        self.driver.place(KEY, DATA, sealed=False)
        self.successResultOf(self.driver.touch(KEY, 5.0))
        ((_, info),) = self.listed(self.store.list())
        self.assertEqual(info.used, NOW)
        self.successResultOf(self.driver.seal(KEY))
        ((_, info),) = self.listed(self.store.list())
        self.assertEqual(info.used, 5.0)
