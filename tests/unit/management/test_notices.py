"""Removals that other daemons on the same store learn of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management.notices import (
    INTERVAL,
    KEPT,
    KEYS,
    NOTICES,
    NoticeFollower,
    Notices,
)
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.open_blob import CorruptBlob
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.streams.parsing import ManifestReader
from tests.support.streams import run_at_once
from tests.unit.storage.support import HOST, StoreTestCase

TAG = tag_key(HOST, "a/b", "1")


class NoticesTestCase(StoreTestCase):
    """Two daemons on one store: one announces, the other one has something in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.notices = Notices(self.driver)
        self.tags = TagStore(self.driver)
        self.manifests = ManifestStore(self.driver, self.usage, ManifestReader(run_at_once))
        self.blobs = BlobStore(self.driver, self.usage, run_at_once, check_always=False)
        self.follower = self.make_follower(Notices(self.driver))
        self.addCleanup(self.follower.stop)

    def make_follower(self, notices: Notices) -> NoticeFollower:
        return NoticeFollower(notices, self.tags, self.manifests, self.blobs, self.clock)

    def announce(self, *keys: str) -> None:
        self.result(self.notices.announce(keys))


class Following(NoticesTestCase):
    """What the other daemon does."""

    def test_seen(self) -> None:
        """Within a second it has dropped the tag and the manifest that were removed."""
        self.follower.start()
        manifest = Manifest.read(b'{"schemaVersion": 2}', OCI_MANIFEST)
        record = TagRecord(manifest.digest, OCI_MANIFEST, 1.0)
        self.tags.remember(HOST, "a/b", "1", record)
        self.tags.remember(HOST, "a/b", "2", record)
        self.manifests.remember(HOST, manifest)
        self.announce(TAG, manifest_key(HOST, manifest.digest), blob_key(manifest.digest), "x")
        self.assertLess(INTERVAL, 1)
        self.clock.advance(INTERVAL)
        self.assertIsNone(self.tags.recall(HOST, "a/b", "1"))
        self.assertIsNone(self.manifests.recall(HOST, manifest.digest))
        self.assertIsNotNone(self.tags.recall(HOST, "a/b", "2"))

    def test_once(self) -> None:
        """What is pulled again after that stays in memory."""
        self.follower.start()
        self.announce(TAG)
        self.clock.advance(INTERVAL)
        self.tags.remember(HOST, "a/b", "1", TagRecord(Digest.of(b""), OCI_MANIFEST, 1.0))
        self.announce(tag_key(HOST, "a/b", "2"))
        self.clock.advance(INTERVAL)
        self.assertIsNotNone(self.tags.recall(HOST, "a/b", "1"))

    def test_own(self) -> None:
        """What this process has announced is not dropped: it may have been pulled again since."""
        notices = Notices(self.driver)
        follower = self.make_follower(notices)
        self.result(notices.announce([TAG]))
        self.tags.remember(HOST, "a/b", "1", TagRecord(Digest.of(b""), OCI_MANIFEST, 1.0))
        self.result(follower.look())
        self.assertIsNotNone(self.tags.recall(HOST, "a/b", "1"))
        self.clock.advance(KEPT)
        self.result(follower.look())
        self.assertEqual([], self.result(notices.all()))

    def test_corrupt_blob(self) -> None:
        """Readers of a blob that another daemon has found corrupt fail; what is stored then is served."""
        digest = Digest.of(b"data")
        self.driver.place(blob_key(digest), b"data", sealed=True)
        before = self.result(self.blobs.open(digest))
        assert before is not None
        source = before.source(0, 4)
        self.assertEqual(b"d", source.read(1))
        self.announce(blob_key(digest))
        self.result(self.follower.look())
        self.assertRaises(CorruptBlob, source.read, 1)
        source.close()
        after = self.result(self.blobs.open(digest))
        assert after is not None
        self.assertEqual(b"data", after.source(0, 4).read(4))
        after.close()

    def test_failing(self) -> None:
        """While the store fails it continues looking."""
        self.follower.start()
        self.driver.broken = "gone"
        self.clock.advance(INTERVAL)
        self.assertEqual(1, len(self.clock.getDelayedCalls()))

    def test_stopped(self) -> None:
        """When it is stopped, it looks no more."""
        self.follower.start()
        self.follower.stop()
        self.assertEqual([], self.clock.getDelayedCalls())


class Announcing(NoticesTestCase):
    """What is written, and removed."""

    def stored(self) -> list[tuple[str, ...]]:
        """Return the keys of each notice."""
        notices = self.result(self.notices.all())
        return [self.result(self.notices.read(notice)) for notice in notices]

    def test_many(self) -> None:
        """Many keys are several notices."""
        keys = [f"key{number}" for number in range(2 * KEYS + 1)]
        self.announce(*keys)
        self.assertEqual([1, KEYS, KEYS], sorted(map(len, self.stored())))
        self.assertEqual(set(keys), {key for notice in self.stored() for key in notice})

    def test_removed(self) -> None:
        """A notice goes when a daemon has known it for a minute, however wrong the clocks are."""
        self.announce(TAG)
        self.clock.advance(10 * KEPT)
        self.result(self.follower.look())
        self.clock.advance(KEPT - 1)
        self.announce("later")
        self.result(self.follower.look())
        self.assertEqual({(TAG,), ("later",)}, set(self.stored()))
        self.clock.advance(1)
        self.result(self.follower.look())
        self.assertEqual([("later",)], self.stored())
        self.result(self.follower.look())
        self.assertEqual(1, len(self.follower._seen))

    def test_at_the_same_time(self) -> None:
        """Of two daemons that announce at the same time, neither notice is lost."""
        put, late = self.driver.put, Deferred[None]()

        def slow(key: str, data: bytes) -> Deferred[None]:
            return late.addCallback(lambda _: put(key, data))

        self.patch(self.driver, "put", slow)
        announcing = Deferred.fromCoroutine(self.notices.announce([TAG]))
        self.driver.put = put  # type: ignore[method-assign]
        self.announce("another")
        late.callback(None)
        self.successResultOf(announcing)
        self.assertEqual({(TAG,), ("another",)}, set(self.stored()))

    def test_unreadable(self) -> None:
        """A notice that could not be read is read again."""
        record = TagRecord(Digest.of(b""), OCI_MANIFEST, 1.0)
        self.tags.remember(HOST, "a/b", "1", record)
        self.announce(TAG)
        get = self.driver.get
        self.driver.get = lambda *_: fail(StoreError("gone"))  # type: ignore[method-assign]
        self.fails(self.follower.look(), StoreError)
        self.assertIsNotNone(self.tags.recall(HOST, "a/b", "1"))
        self.driver.get = get  # type: ignore[method-assign]
        self.result(self.follower.look())
        self.assertIsNone(self.tags.recall(HOST, "a/b", "1"))


class Hostile(SynchronousTestCase):
    """Notices that are damaged."""

    @given(st.binary() | st.builds(lambda each: b'{"keys": [%s]}' % each, st.binary()))
    def test_any_bytes(self, data: bytes) -> None:
        """They say nothing, do no harm, and go as others do."""
        case = NoticesTestCase("run")
        case.setUp()
        case.driver.place(f"{NOTICES}/{'0' * 32}", data, sealed=True)
        case.driver.place(f"{NOTICES}/another", data, sealed=True)
        case.result(case.follower.look())
        case.clock.advance(KEPT)
        case.result(case.follower.look())
        case.assertEqual([], case.result(case.notices.all()))
        case.assertIn(f"{NOTICES}/another", case.driver._objects)
