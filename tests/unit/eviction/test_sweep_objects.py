"""What the sweep removes and what it leaves, object by object and need by need."""

from __future__ import annotations

import json
from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.eviction.sweep import Swept
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.unit.eviction.support import (
    BRIEF,
    DAY,
    HOST,
    OTHERS,
    SweepTestCase,
    descriptor,
)
from tests.unit.storage.support import NOW


class Blobs(SweepTestCase):
    """Blobs that are used, and not."""

    def test_unused(self) -> None:
        """A blob that has lain unused for longer than its lifetime is removed, and not before."""
        self.blob(b"data")
        self.assertEqual(self.swept(14), Swept())
        self.assertTrue(self.has(b"data"))
        self.clock.advance(1)
        self.assertEqual(self.swept(), Swept(blobs=1, size=4))
        self.assertFalse(self.has(b"data"))
        self.assertEqual(self.swept(), Swept())

    def test_announced(self) -> None:
        """Other daemons learn which manifests and tags are gone."""
        image = self.manifest(b"config")
        self.tag(image)
        self.swept(30)
        keys = [tag_key(HOST, "library/app", "latest"), manifest_key(HOST, image.digest)]
        self.assertEqual(keys, self.announced)

    def test_used(self) -> None:
        """A blob that is used now and then stays, across restarts too."""
        self.blob(b"data")
        for _ in range(5):
            self.clock.advance(10 * DAY)
            self.open(b"data").close()
            self.assertEqual(self.swept(), Swept())
            self.restart()

    def test_being_read(self) -> None:
        """A blob that somebody has been reading all the time stays as long as that takes."""
        self.blob(b"data")
        reader = self.open(b"data")
        self.assertEqual(self.swept(30), Swept())
        reader.close()
        self.assertEqual(self.swept(), Swept(blobs=1, size=4))

    def test_being_downloaded(self) -> None:
        """A blob that is being downloaded is not evicted."""
        self.blob(b"data")
        self.downloading.add(Digest.of(b"data"))
        self.assertEqual(self.swept(30), Swept())
        self.downloading.clear()
        self.assertEqual(self.swept(), Swept(blobs=1, size=4))

    def test_used_during_the_sweep(self) -> None:
        """A blob that comes into use after the sweep has listed it stays."""
        self.batch = 1
        self.restart()
        self.blob(b"data")
        self.blob(b"other")
        self.clock.advance(30 * DAY)
        real = self.driver.delete

        def use_the_other(key: str) -> Deferred[bool]:
            for data in (b"data", b"other"):
                if blob_key(Digest.of(data)) != key:
                    self.open(data).close()
            return real(key)

        with patch.object(self.driver, "delete", use_the_other):
            self.assertEqual(self.swept().blobs, 1)
        self.assertEqual(len(self.listed(self.blobs.list())), 1)

    def test_foreign_files(self) -> None:
        """Files that are no objects are not removed, however old they are."""
        keys = ("blobs/README", "blobs/sha256/ab/.cd.swp", "repositories/x", "lost+found/1")
        for key in keys:
            self.driver.place(key, b"foreign", sealed=False)
        self.assertEqual(self.swept(10_000), Swept())
        for key in keys:
            self.assertIsNotNone(self.used(key))

    def test_taken_over(self) -> None:
        """Blobs that another program stored long ago have a lifetime ahead of them, and one only."""
        key = blob_key(Digest.of(b"old"))
        self.driver.place(key, b"old", sealed=False)
        self.successResultOf(self.driver.touch(key, NOW - 1000 * DAY))
        self.restart()
        self.assertEqual(self.swept(13), Swept())
        self.assertEqual(self.swept(2), Swept(blobs=1, size=3))

    def test_damaged_are_no_news(self) -> None:
        """The sweep opens no blob: how large the store is does not matter to it."""
        for number in range(10):
            self.blob(b"%d" % number)
        with patch.object(self.driver, "open", side_effect=AssertionError):
            self.assertEqual(self.swept(30).blobs, 10)


class Manifests(SweepTestCase):
    """Manifests, and what they need."""

    def test_image(self) -> None:
        """An unused image is evicted completely, with its tags."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        self.tag(image, "v1")
        self.tag(image, "latest")
        self.assertEqual(self.swept(14), Swept())
        self.assertEqual(self.swept(1), Swept(blobs=2, size=11, manifests=1, tags=2))
        self.assertEqual(self.driver._objects, {})

    def test_needed(self) -> None:
        """The blobs of a manifest in use stay, though nobody asks for them: all clients have them."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        self.blob(b"alone")
        self.clock.advance(10 * DAY)
        self.read(image)
        self.assertEqual(self.swept(10), Swept(blobs=1, size=5))
        self.assertTrue(self.has(b"config") and self.has(b"layer") and self.has(image))
        self.assertEqual(self.swept(5), Swept(blobs=2, size=11, manifests=1))

    def test_needed_across_a_restart(self) -> None:
        """What a manifest needs is remembered on the medium."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        self.clock.advance(10 * DAY)
        self.read(image)
        self.swept(10)
        self.restart()
        self.assertEqual(self.used(blob_key(Digest.of(b"layer"))), NOW + 10 * DAY)

    def test_shared(self) -> None:
        """A blob stays while any manifest of any registry that is kept needs it."""
        base = self.blob(b"base")
        old = self.manifest(self.blob(b"old config"), base)
        new = self.manifest(self.blob(b"new config"), base, host=OTHERS)
        self.clock.advance(10 * DAY)
        self.read(new, OTHERS)
        self.assertEqual(self.swept(10), Swept(blobs=1, size=10, manifests=1))
        self.assertFalse(self.has(old))
        self.assertTrue(self.has(base))

    def test_index(self) -> None:
        """An index keeps the images that it lists, and their blobs, though only one is ever used."""
        amd = self.manifest(self.blob(b"amd config"), self.blob(b"amd layer"))
        arm = self.manifest(self.blob(b"arm config"), self.blob(b"arm layer"))
        index = self.manifest(children=(amd, arm))
        outer = self.manifest(children=(index,))
        self.clock.advance(10 * DAY)
        self.read(outer)
        self.assertEqual(self.swept(10), Swept())
        for thing in (amd, arm, index, outer, b"arm layer"):
            self.assertTrue(self.has(thing))
        self.assertEqual(self.swept(5), Swept(blobs=4, size=38, manifests=4))

    def test_index_of_itself(self) -> None:
        """Indexes that list what is not there, or each other in a circle, delay nothing."""
        missing = Manifest(b"{}", OCI_MANIFEST, Digest.of(b"{}"))
        index = self.manifest(children=(missing,))
        first, second = Digest.of(b"1"), Digest.of(b"2")
        circle = {
            first: {"manifests": [{**descriptor(b"2", OCI_INDEX)}]},
            second: {"manifests": [{**descriptor(b"1", OCI_INDEX)}]},
        }
        for digest, document in circle.items():
            raw = json.dumps(document).encode()
            self.manifests.remember(HOST, Manifest(raw, OCI_INDEX, digest))
            self.result(self.manifests.put(HOST, Manifest(raw, OCI_INDEX, digest)))
        self.clock.advance(10 * DAY)
        self.read(index)
        self.result(self.manifests.get(HOST, first))
        self.assertEqual(self.swept(10), Swept())
        self.assertEqual(self.swept(5), Swept(manifests=3))

    def test_child_in_use(self) -> None:
        """An unused index is evicted; an image that it lists stays if it is used itself."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        index = self.manifest(children=(image,))
        self.tag(index)
        self.tag(image, "amd64")
        self.clock.advance(10 * DAY)
        self.read(image)
        self.assertEqual(self.swept(10), Swept(manifests=1, tags=1))
        self.assertTrue(self.has(image) and self.has(b"layer"))
        self.assertIsNotNone(self.result(self.tags.get(HOST, "library/app", "amd64")))

    def test_registries_are_apart(self) -> None:
        """An index keeps what its own registry has, and not what another has under the same digest."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"), host=OTHERS)
        self.result(self.manifests.put(HOST, image))
        index = self.manifest(children=(image,))
        self.clock.advance(10 * DAY)
        self.read(index)
        self.assertEqual(self.swept(10), Swept(manifests=1))
        self.assertTrue(self.has(image))
        self.assertFalse(self.has(image, OTHERS))

    def test_used_during_the_sweep(self) -> None:
        """A manifest that comes into use while the sweep is at it stays."""
        image = self.manifest(self.blob(b"config"))
        self.tag(image)
        self.clock.advance(30 * DAY)
        real = self.driver.delete

        def use(key: str) -> Deferred[bool]:
            self.read(image)
            return real(key)

        with patch.object(self.driver, "delete", use):
            self.assertEqual(self.swept(), Swept(blobs=1, size=6))
        self.assertTrue(self.has(image))
        self.assertIsNotNone(self.result(self.tags.get(HOST, "library/app", "latest")))

    def test_tags_of_others(self) -> None:
        """Tags go with the manifest that they name in their own registry, and not with others."""
        gone, kept = self.manifest(self.blob(b"1")), self.manifest(self.blob(b"2"))
        self.tag(gone, "gone")
        self.tag(kept, "kept")
        self.tag(gone, "elsewhere", OTHERS)
        self.clock.advance(10 * DAY)
        self.read(kept)
        self.assertEqual(self.swept(10), Swept(blobs=1, size=1, manifests=1, tags=1))
        names = {(host, tag) for host, _, tag, _ in self.listed(self.tags.list())}
        self.assertEqual(names, {(HOST, "kept"), (OTHERS, "elsewhere")})

    def test_what_is_no_image(self) -> None:
        """A stored manifest that cannot be read as one delays nothing."""
        odd = self.stored(b"\xff not JSON")
        self.blob(b"data")
        self.clock.advance(10 * DAY)
        self.read(odd)
        self.assertEqual(self.swept(10), Swept(blobs=1, size=4))
        self.assertEqual(self.swept(10), Swept(manifests=1))

    def test_every_digest_that_is_named(self) -> None:
        """A manifest in use keeps every blob that it names, however it names it."""
        digest = str(Digest.of(self.blob(b"layer")))
        document = {"layers": [{"digest": digest}]}
        signed = {"schemaVersion": 1, "fsLayers": [{"blobSum": digest}], "signatures": [{}]}
        for raw in (
            json.dumps(document).encode(),
            json.dumps({"layers": [{"digest": digest, "mediaType": "?", "size": "1"}]}).encode(),
            json.dumps({"layers": [{"digest": digest, "size": -1}]}).encode(),
            json.dumps(signed).encode(),
            json.dumps({"stages": {"a": {"of": [digest]}}}).encode(),
            json.dumps({"by": "J\u00fcrgen", **document}, ensure_ascii=False).encode("latin-1"),
            json.dumps(document).replace("sha256:", "\\u0073ha256\\u003a").encode(),
            json.dumps({"layers": [[]] * 100_000, "more": digest}).encode(),
            b'{"a":' + b"[" * 5000 + digest.encode(),
            digest.encode(),
        ):
            odd = self.stored(raw)
            self.clock.advance(20 * DAY)
            self.read(odd)
            self.restart()
            self.assertEqual(self.swept().blobs, 0, raw[:100])
            self.assertTrue(self.has(b"layer"))

    def stored(self, raw: bytes) -> Manifest:
        """Store bytes as a manifest."""
        manifest = Manifest(raw, OCI_MANIFEST, Digest.of(raw))
        self.result(self.manifests.put(HOST, manifest))
        return manifest


class Referrers(SweepTestCase):
    """Lists of what refers to manifests."""

    def test_unused(self) -> None:
        """A list that nobody has requested is evicted when the objects of its registry would be."""
        self.referred(b"subject")
        self.referred(b"subject", BRIEF)
        self.assertEqual(self.swept(2), Swept(referrers=1))
        self.assertEqual(self.swept(12), Swept())
        self.assertEqual(self.swept(1), Swept(referrers=1))
        self.assertEqual(self.driver._objects, {})

    def test_used(self) -> None:
        """A list that is served now and then stays, across restarts too."""
        self.referred(b"subject")
        for _ in range(5):
            self.clock.advance(10 * DAY)
            self.assertIsNotNone(
                self.result(self.referrers.get(HOST, "library/app", Digest.of(b"subject")))
            )
            self.assertEqual(self.swept(), Swept())
            self.restart()
