"""What is removed with an image, and what stays."""

from __future__ import annotations

from twisted.internet.defer import succeed

from oci_registry.management.answers import Removal
from oci_registry.management.index import DaemonIndex
from oci_registry.management.manager import Management
from oci_registry.management.problems import InUse, InvalidName, IsPinned, NotReady, NotStored
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.keys import blob_key, tag_key
from oci_registry.storage.original import FOLDER
from oci_registry.storage.pins import Pins
from oci_registry.storage.totals import Walk
from tests.unit.account.support import OWN
from tests.unit.management.support import ManagementTestCase, subject


class RemovalTestCase(ManagementTestCase):
    """An image of two platforms, which shares a layer with another one."""

    def setUp(self) -> None:
        super().setUp()
        self.shared, self.first = self.blob(b"shared"), self.blob(b"first")
        self.second, self.other = self.blob(b"second"), self.blob(b"other")
        self.children = (
            self.manifest(self.first, self.shared),
            self.manifest(self.second, self.shared),
        )
        self.top = self.index_of(*self.children)
        self.name("x:1", self.top)
        self.beside = self.manifest(self.other, self.shared)
        self.name("x:2", self.beside)

    def remove(self, name: str, *, blobs: bool = False) -> Removal:
        return self.result(self.management.remove(subject(name), blobs=blobs))

    def tag_is_stored(self, name: str) -> bool:
        return self.result(self.content.tags.peek("docker.io", "library/x", name)) is not None


class Images(RemovalTestCase):
    """The removal of images."""

    def test_tag(self) -> None:
        """Without more, only the tag is removed."""
        removal = self.remove("x:1")
        self.assertEqual(Removal(("docker.io/library/x:1",), (), (), 0, ()), removal)
        self.assertFalse(self.tag_is_stored("1"))
        self.assertTrue(self.has(self.top))

    def test_with_blobs(self) -> None:
        """With its blobs, all that no other image needs is removed."""
        removal = self.remove("x:1", blobs=True)
        self.assertEqual({str(self.first), str(self.second)}, set(removal.blobs))
        self.assertEqual({str(self.top), *map(str, self.children)}, set(removal.manifests))
        self.assertGreater(removal.size, 11)
        for gone in (self.top, *self.children, self.first, self.second):
            self.assertFalse(self.has(gone))
        for there in (self.beside, self.shared, self.other):
            self.assertTrue(self.has(there))

    def test_another_tag(self) -> None:
        """While another tag names the image, only the tag is removed."""
        self.name("a/b:1", self.top)
        removal = self.remove("x:1", blobs=True)
        self.assertEqual(((), ()), (removal.manifests, removal.blobs))

    def test_tagged_child(self) -> None:
        """A manifest in an index that has a tag of its own stays, with its blobs."""
        self.name("x:amd64", self.children[0])
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.children[0]) and self.has(self.first))
        self.assertFalse(self.has(self.children[1]) or self.has(self.second))

    def test_shared_child(self) -> None:
        """A manifest that another index names stays, with its blobs."""
        self.name("x:3", self.index_of(self.children[0]))
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.children[0]) and self.has(self.first))

    def test_other_registry(self) -> None:
        """Blobs that an image of another registry needs stay, even if it is the same image."""
        self.manifest(self.first, self.shared, host=OWN)
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.first))
        self.assertFalse(self.has(self.children[0]))

    def test_digest(self) -> None:
        """A digest goes with all tags that name it."""
        self.name("a/b:1", self.top)
        removal = self.remove(f"x@{self.top}")
        self.assertEqual(("docker.io/a/b:1", "docker.io/library/x:1"), removal.tags)
        self.assertEqual((str(self.top),), removal.manifests)
        self.assertTrue(self.has(self.children[0]))

    def test_part_of_an_index(self) -> None:
        """A manifest that an index names can be removed, but its blobs stay, since the index needs them."""
        removal = self.remove(f"x@{self.children[0]}", blobs=True)
        self.assertEqual((), removal.blobs)
        self.assertFalse(self.has(self.children[0]))
        self.assertTrue(self.has(self.first))

    def test_in_use(self) -> None:
        """Blobs that are being read or downloaded stay, and are named."""
        self.busy.add(self.first)
        reading = self.result(self.content.blobs.open(self.second))
        assert reading is not None
        removal = self.remove("x:1", blobs=True)
        self.assertEqual({str(self.first), str(self.second)}, set(removal.kept))
        self.assertEqual((), removal.blobs)
        reading.close()

    def test_totals(self) -> None:
        """The totals of the metrics no longer count what is gone; what was not stored was not counted."""
        totals, objects = self.content.totals, self.driver._objects
        walked = {
            key: info.size
            for key, (_, info) in objects.items()
            if key.startswith("blobs/") or "/_manifests/" in key
        }
        totals.correct(Walk(len(walked), sum(walked.values())))
        manifest = Manifest.read(b'{"schemaVersion": 2}', OCI_MANIFEST)
        self.content.manifests.remember("docker.io", manifest)
        self.remove(f"x@{manifest.digest}")
        self.remove("x:1", blobs=True)
        self.result(self.management.remove_blob(self.shared))
        left = [size for key, size in walked.items() if key in objects]
        self.assertEqual((len(left), sum(left)), (totals.objects, totals.size))
        self.assertLess(len(left), len(walked))

    def test_not_stored(self) -> None:
        """What is not stored cannot be removed, nor can anything twice."""
        self.assertIn("docker.io/library/y:1", self.fails_with_not_stored("y:1"))
        self.fails_with_not_stored(f"x@{Digest.of(b'nothing')}")
        self.remove("x:1")
        self.fails_with_not_stored("x:1")

    def fails_with_not_stored(self, name: str) -> str:
        return self.fails(self.management.remove(subject(name)), NotStored)

    def test_pinned(self) -> None:
        """A pinned image is not removed; what is pinned by its digest stays when its tag goes."""
        self.result(self.management.pin(subject("x:1")))
        self.fails(self.management.remove(subject("x:1")), IsPinned)
        self.fails(self.management.remove(subject(f"x@{self.top}"), blobs=True), IsPinned)
        self.result(self.management.unpin(subject("x:1")))
        self.result(self.management.pin(subject(f"x@{self.top}")))
        self.fails(self.management.remove(subject(f"x@{self.top}")), IsPinned)
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.top) and self.has(self.first))

    def test_pinned_child(self) -> None:
        """A manifest in an index that is pinned stays, with its blobs."""
        self.result(self.management.pin(subject(f"x@{self.children[0]}")))
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.children[0]) and self.has(self.first))
        self.assertFalse(self.has(self.second))

    def test_held(self) -> None:
        """What a tag is held at stays with its blobs, and neither it nor the held tag can be removed."""
        holds = HoldStore(self.observed)
        self.result(holds.put("docker.io", "library/x", "prod", self.top, 1.0))
        self.name("x:prod", self.beside)
        for name in (f"x@{self.top}", "x:prod"):
            message = self.fails(self.management.remove(subject(name), blobs=True), IsPinned)
            self.assertIn("release it first", message)
            self.assertIn("docker.io/library/x:prod is held at", message)
        self.assertTrue(self.tag_is_stored("prod"))
        removal = self.remove("x:1", blobs=True)
        self.assertEqual(((), ()), (removal.manifests, removal.blobs))
        self.assertTrue(self.has(self.top) and self.has(self.first))
        self.result(holds.remove("docker.io", "library/x", "prod"))
        self.remove(f"x@{self.top}", blobs=True)
        self.assertFalse(self.has(self.top) or self.has(self.first))

    def test_held_child(self) -> None:
        """A manifest in an index that a tag is held at stays, with its blobs."""
        holds = HoldStore(self.observed)
        self.result(holds.put("docker.io", "library/x", "prod", self.children[0], 1.0))
        self.remove("x:1", blobs=True)
        self.assertTrue(self.has(self.children[0]) and self.has(self.first))
        self.assertFalse(self.has(self.second))

    def test_named_by_a_held_tag(self) -> None:
        """A digest goes with the record of a tag that is held at another one: the hold stays."""
        holds = HoldStore(self.observed)
        self.result(holds.put("docker.io", "library/x", "1", self.beside, 1.0))
        self.assertEqual(("docker.io/library/x:1",), self.remove(f"x@{self.top}").tags)
        self.assertEqual(1, len([key for key in self.driver._objects if key.startswith("holds/")]))

    def test_account_is_not_complete(self) -> None:
        """While the account may lack an image, a tag can be removed, but no blob."""
        self.account._lost = True
        self.account.flush = lambda: succeed(None)  # type: ignore[method-assign]
        self.fails(self.management.remove(subject("x:1"), blobs=True), NotReady)
        self.remove("x:1")
        self.assertFalse(self.tag_is_stored("1"))

    def test_left_by_another_program(self) -> None:
        """What mcronce/oci-registry has left of the image goes too, or it would be taken over again."""
        keys = [f"{FOLDER}/docker.io/library/x/{name}" for name in ("1", str(self.top))]
        for key in keys:
            self.driver.place(key, b"{}", sealed=True)
        self.remove(f"x@{self.top}")
        self.assertEqual([], [key for key in keys if key in self.driver._objects])

    def test_memory(self) -> None:
        """What was in memory is not served afterwards."""
        self.result(self.content.tags.get("docker.io", "library/x", "1"))
        self.result(self.content.manifests.get("docker.io", self.top))
        self.remove("x:1", blobs=True)
        key = tag_key("docker.io", "library/x", "1")
        self.assertIsNone(self.content.tags.recall_at(key))
        self.assertIsNone(self.result(self.content.tags.get("docker.io", "library/x", "1")))
        self.assertIsNone(self.content.manifests.recall("docker.io", self.top))

    def test_no_index(self) -> None:
        """Without an index, tags and manifests can be removed, but not what only they need."""
        self.name("x:3", self.top)
        self.management = Management(
            DaemonIndex(None), self.content, Pins(self.observed), self.rules, self.clock.seconds
        )
        self.result(self.management.pin(subject("x:2")))
        self.fails(self.management.remove(subject("x:2")), IsPinned)
        self.fails(self.management.remove(subject("x:1"), blobs=True), NotReady)
        self.assertEqual(("docker.io/library/x:1",), self.remove("x:1").tags)
        self.fails_with_not_stored("x:1")
        removal = self.remove(f"x@{self.top}")
        self.assertEqual(
            (("docker.io/library/x:3",), (str(self.top),)), (removal.tags, removal.manifests)
        )
        self.assertFalse(self.has(self.top))
        self.result(self.management.remove_blob(self.first))

    def test_in_memory_only(self) -> None:
        """A manifest that is still to be written can be removed, too."""
        manifest = Manifest.read(b'{"schemaVersion": 2}', OCI_MANIFEST)
        self.content.manifests.remember("docker.io", manifest)
        removal = self.remove(f"x@{manifest.digest}")
        self.assertEqual((str(manifest.digest),), removal.manifests)
        self.fails_with_not_stored(f"x@{manifest.digest}")


class Blobs(RemovalTestCase):
    """The removal of a single blob."""

    def test_removed(self) -> None:
        """A blob can be removed, whoever needs it."""
        removal = self.result(self.management.remove_blob(self.shared))
        self.assertEqual(((str(self.shared),), 6), (removal.blobs, removal.size))
        self.assertNotIn(blob_key(self.shared), self.driver._objects)

    def test_refused(self) -> None:
        """One that is in use, or is not there, is not."""
        self.busy.add(self.shared)
        self.fails(self.management.remove_blob(self.shared), InUse)
        self.fails(self.management.remove_blob(Digest.of(b"nothing")), NotStored)


class Refresh(RemovalTestCase):
    """A tag that is to be asked for again."""

    def test_tag(self) -> None:
        """The record says that upstream has to confirm it, in memory and in the store."""
        before = self.result(self.content.tags.get("docker.io", "library/x", "1"))
        refreshed = self.result(self.management.refresh(subject("x:1")))
        self.assertEqual(str(self.top), refreshed.digest)
        after = self.content.tags.recall("docker.io", "library/x", "1")
        assert before is not None
        assert after is not None
        self.assertEqual((True, before.checked), (after.imported, after.checked))
        stored = self.driver._objects[tag_key("docker.io", "library/x", "1")][0]
        self.assertIn(b"imported", stored)

    def test_refused(self) -> None:
        """A digest cannot be refreshed, nor can what is not stored."""
        self.fails(self.management.refresh(subject(f"x@{self.top}")), InvalidName)
        self.fails(self.management.refresh(subject("y:1")), NotStored)
