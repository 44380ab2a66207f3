"""Removals that other daemons on the same store learn of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management.notices import INTERVAL, KEPT, KEY, MOST, NoticeFollower, Notices
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.streams.parsing import ManifestReader
from tests.support.streams import run_at_once
from tests.unit.storage.support import HOST, StoreTestCase

TAG = tag_key(HOST, "a/b", "1")


class NoticesTestCase(StoreTestCase):
    """Two daemons on one store: one announces, the other one has something in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.notices = Notices(self.driver, self.clock)
        self.tags = TagStore(self.driver)
        self.manifests = ManifestStore(self.driver, self.usage, ManifestReader(run_at_once))
        self.follower = NoticeFollower(
            Notices(self.driver, self.clock), self.tags, self.manifests, self.clock
        )
        self.addCleanup(self.follower.stop)

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

    def test_failing(self) -> None:
        """While the store fails it goes on looking."""
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
    """What is written."""

    def test_bounded(self) -> None:
        """Old notices go, and those beyond the limit."""
        self.announce("old")
        self.clock.advance(KEPT + 1)
        self.announce(*(f"key{number}" for number in range(3 * MOST)))
        notices = self.result(self.notices.read())
        self.assertLessEqual(sum(len(notice.keys) for notice in notices.values()), MOST)
        self.assertNotIn(("old",), [notice.keys for notice in notices.values()])

    def test_at_the_same_time(self) -> None:
        """A notice that another daemon has overwritten is written again."""
        put = self.driver.put
        overwritten = [b'{"notices": []}']

        def racing(key: str, data: bytes):  # type: ignore[no-untyped-def]
            return put(key, overwritten.pop() if overwritten else data)

        self.patch(self.driver, "put", racing)
        self.announce(TAG)
        (notice,) = self.result(self.notices.read()).values()
        self.assertEqual((TAG,), notice.keys)


class Hostile(SynchronousTestCase):
    """Notices that are damaged."""

    @given(st.binary() | st.builds(lambda each: b'{"notices": [%s]}' % each, st.binary()))
    def test_any_bytes(self, data: bytes) -> None:
        """They are none, and do no harm."""
        case = NoticesTestCase("run")
        case.setUp()
        case.driver.place(KEY, data, sealed=True)
        case.result(case.follower.look())
        case.announce(TAG)
        self.assertEqual(1, len(case.result(case.notices.read())))
