"""Manifests and tags in memory that could not be written: they are written when they are pulled later."""

from __future__ import annotations

from oci_registry.pullthrough.hits import ManifestHit
from oci_registry.pullthrough.records import RecordLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from tests.unit.pullthrough.manifest_case import LATEST, raw
from tests.unit.pullthrough.test_hanging_store import WritingTestCase

HOST = "example.com"
AGAIN = RecordLimits().again
FULL = "no space left"


class LostRecords(WritingTestCase):
    """A store that could not be written for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.keys = {
            manifest_key(HOST, self.one.digest),
            tag_key(HOST, "library/app", "latest"),
        }

    def lose(self) -> None:
        """Pull an image while the disk is full."""
        self.now(self.tag_store.get(HOST, "library/app", "latest"))
        self.driver.broken = FULL
        self.get()
        self.asked()
        self.written.clear()

    def hit(self, reference: Tag | Digest) -> ManifestHit | None:
        return self.manifests.hit(self.target, reference, self.get(reference))

    def still_holds(self, hit: ManifestHit) -> bool:
        """Whether a hit can be repeated now; checking and repeating agree."""
        holds, repeated = hit.hits.holds(hit.packed), hit.hits.repeat(hit.packed)
        self.assertEqual(holds, repeated is not None)
        return holds

    def test_tag(self) -> None:
        """A pull by tag writes the manifest, then the record of the tag, and asks nobody."""
        self.lose()
        self.driver.broken = None
        self.clock.advance(AGAIN)
        self.get()
        self.assertEqual(["put manifest", "put tag"], self.written)
        self.assertLessEqual(self.keys, self.stored())
        self.assertEqual([], self.asked())
        self.clock.advance(AGAIN)
        self.get()
        self.assertEqual(2, len(self.written))

    def test_digest(self) -> None:
        """A pull by digest writes the manifest."""
        self.lose()
        self.driver.broken = None
        self.clock.advance(AGAIN)
        self.get(self.one.digest)
        self.assertEqual(["put manifest"], self.written)
        self.assertIn(manifest_key(HOST, self.one.digest), self.stored())
        self.assertEqual([], self.asked())

    def test_bounded(self) -> None:
        """While the store fails, hundreds of pulls write each record once in a while."""
        self.lose()
        for _ in range(300):
            self.get()
            self.clock.advance(AGAIN / 100)
        self.assertLessEqual(len(self.written), 2 * 3)

    def test_hanging(self) -> None:
        """While a write hangs nothing more is written, however many pulls there are."""
        self.lose()
        self.driver.broken = None
        self.hanging = True
        for _ in range(10):
            self.clock.advance(AGAIN)
            self.get()
        self.assertEqual(["put manifest"], self.written)
        self.release()
        self.assertLessEqual(self.keys, self.stored())

    def test_ready_answers(self) -> None:
        """A ready answer that was made while the record was being written is not used once that has failed."""
        self.hanging = True
        self.get()
        by_tag, by_digest = self.hit(LATEST), self.hit(self.one.digest)
        assert by_tag is not None
        assert by_digest is not None
        self.assertTrue(all(map(self.still_holds, (by_tag, by_digest))))
        self.driver.broken = FULL
        while self.gates:
            self.release()
        self.assertFalse(any(map(self.still_holds, (by_tag, by_digest))))
        self.driver.broken = None
        self.clock.advance(AGAIN)
        self.get()
        self.assertLessEqual(self.keys, self.stored())
        self.assertTrue(all(map(self.still_holds, (by_tag, by_digest))))

    def test_background(self) -> None:
        """What no client waits for writes it as well, and does not take it for stored before."""
        self.lose()
        self.driver.broken = None
        digest = self.one.digest
        self.assertFalse(self.now(self.background.is_stored(HOST, digest)))
        self.clock.advance(AGAIN)
        self.now(self.background.manifest(self.target, digest))
        self.assertTrue(self.now(self.background.is_stored(HOST, digest)))
        self.assertIn(manifest_key(HOST, digest), self.stored())

    def test_removed_meanwhile(self) -> None:
        """A manifest that was removed is not written again, until upstream has sent it again."""
        self.lose()
        self.driver.broken = None
        self.now(self.manifest_store.delete(HOST, self.one.digest))
        self.clock.advance(AGAIN)
        self.now(self.known.tag(self.target, LATEST))
        self.assertNotIn("put manifest", self.written)
        self.get(self.one.digest)
        self.assertEqual(["GET"], self.asked())
        self.assertIn(manifest_key(HOST, self.one.digest), self.stored())

    def test_unreadable_tag(self) -> None:
        """A tag that cannot be read either is not removed because its record was lost."""
        self.get()
        self.lose()
        self.clock.advance(AGAIN)
        self.tag_store.drop(HOST, "library/app", "latest")
        self.now(self.known.tag(self.target, LATEST))
        self.assertNotIn("delete tag", self.written)

    def test_child(self) -> None:
        """A manifest that is not the last one pulled is written when it is pulled again."""
        other = self.upstream.add(raw("two"), "2")
        self.lose()
        self.get(other.digest)
        self.driver.broken = None
        self.clock.advance(AGAIN)
        self.get()
        self.assertNotIn(manifest_key(HOST, other.digest), self.stored())
        self.get(other.digest)
        self.assertIn(manifest_key(HOST, other.digest), self.stored())


class Evicted(WritingTestCase):
    """A manifest that is evicted before its tag is recorded."""

    def test_not_recorded(self) -> None:
        """No tag stays that leads to nothing, and the next pull stores both again."""
        self.hanging = True
        self.get()
        # The manifest is written; the tag hangs.
        self.gates.pop(0).callback(None)
        self.driver._objects.pop(manifest_key(HOST, self.one.digest))
        self.manifest_store.drop(HOST, self.one.digest)
        self.release()
        key = tag_key(HOST, "library/app", "latest")
        self.assertNotIn(key, self.stored())
        self.get()
        self.assertIn(key, self.stored())
        self.assertIn(manifest_key(HOST, self.one.digest), self.stored())
