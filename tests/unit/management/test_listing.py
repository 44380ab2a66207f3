"""Lists of images."""

from __future__ import annotations

from typing import Any

from oci_registry.management.answers import ImagePage, StoredImage
from oci_registry.management.problems import InvalidName, NotReady
from oci_registry.management.source import Order, Wanted
from oci_registry.management.trees import read_tree, summarize
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.keys import manifest_key
from tests.unit.account.support import OWN
from tests.unit.management.support import ManagementTestCase, subject


class ListTestCase(ManagementTestCase):
    """What all lists have in common."""

    def page(self, *patterns: str, **wanted: Any) -> ImagePage:
        return self.result(self.management.list(Wanted(patterns, **wanted)))

    def names(self, *patterns: str, **wanted: Any) -> list[str]:
        return [image.name for image in self.page(*patterns, **wanted).images]

    def only(self) -> StoredImage:
        (image,) = self.page().images
        return image


class OneImage(ListTestCase):
    """What is said of an image."""

    def test_plain(self) -> None:
        """An image without an index: its name, its size, its blobs, and when it was stored."""
        config, layer = self.blob(b"config"), self.blob(b"layer")
        digest = self.manifest(config, layer)
        self.name("x:1", digest)
        image = self.only()
        self.assertEqual("docker.io/library/x:1", image.name)
        self.assertEqual(
            ("docker.io", "library/x", "1"), (image.registry, image.repository, image.tag)
        )
        self.assertEqual((str(digest), OCI_MANIFEST), (image.digest, image.media_type))
        self.assertEqual((2, 2, True, ()), (image.blobs, image.stored_blobs, image.complete, ()))
        stored = len(self.driver._objects[manifest_key("docker.io", digest)][0])
        self.assertEqual((stored + 11, stored + 11), (image.size, image.unique))
        self.assertEqual((self.clock.seconds(), 0, False), (image.added, image.pulls, image.pinned))

    def test_platforms(self) -> None:
        """Of an index, the platforms that are stored count, and no others."""
        config = self.blob(b"config")
        stored = self.manifest(config)
        index = self.index_of(stored, Digest.of(b"never pulled"))
        self.name("x:1", index)
        image = self.only()
        self.assertEqual((("linux/a0",), True), (image.platforms, image.complete))
        self.assertEqual(OCI_INDEX, image.media_type)

    def test_incomplete(self) -> None:
        """An image that lacks a blob is not complete, nor is an index without any manifest."""
        config = self.blob(b"config")
        self.name("x:1", self.manifest(config, Digest.of(b"absent")))
        self.name("x:2", self.index_of(Digest.of(b"never pulled")))
        lacking, empty = self.page().images
        self.assertEqual((1, 2, False), (lacking.stored_blobs, lacking.blobs, lacking.complete))
        self.assertFalse(empty.complete)

    def test_manifest_is_gone(self) -> None:
        """A tag whose manifest is not stored is listed, with nothing."""
        self.name("x:1", Digest.of(b"gone"))
        image = self.only()
        self.assertEqual((0, False, None), (image.size, image.complete, image.added))

    def test_by_digest(self) -> None:
        """An image without a tag has its digest as its name, and the repository that it was pulled from."""
        digest = self.manifest(self.blob(b"config"))
        self.assertEqual([f"docker.io/library/x@{digest}"], self.names())

    def test_unknown_repository(self) -> None:
        """Without a repository, the name is that of the registry; it can be asked for by this name."""
        digest = self.manifest(self.blob(b"config"), repository=None)
        self.assertEqual([f"docker.io/@{digest}"], self.names())
        shown = self.result(self.management.show(subject(f"docker.io/@{digest}")))
        self.assertEqual(str(digest), shown.image.digest)

    def test_tag_that_moved(self) -> None:
        """What a tag has named before is still known by the repository of the tag."""
        before = self.manifest(self.blob(b"1"), repository=None)
        self.name("a/b:1", before)
        self.account.flush()
        self.clock.advance(10)
        self.name("a/b:1", self.manifest(self.blob(b"2"), repository=None))
        self.assertIn(f"docker.io/a/b@{before}", self.names())

    def test_unique(self) -> None:
        """What another image needs too is not unique, nor is what another tag of the image needs."""
        shared, one, two = self.blob(b"shared"), self.blob(b"one"), self.blob(b"two!")
        first, second = self.manifest(shared, one), self.manifest(shared, two, host=OWN)
        self.name("x:1", first)
        self.name("x:2", first)
        self.name("example.com/x:1", second)
        images = {image.name: image for image in self.page().images}
        sizes = [images[name].size - images[name].unique for name in sorted(images)]
        self.assertEqual([6, 6, 6], sizes)

    def test_corrupt(self) -> None:
        """A manifest with wrong bytes is listed as incomplete."""
        digest = self.manifest(self.blob(b"config"))
        self.name("x:1", digest)
        self.ask(lambda _: None)
        self.driver.place(manifest_key("docker.io", digest), b"{}\nwrong", sealed=True)
        self.assertFalse(self.only().complete)

    def test_hostile_index(self) -> None:
        """An index that cannot be read is listed, and so is one that lists too much."""
        broken: dict[str, object] = {"manifests": [{"digest": "sha256:1"}]}
        self.name("x:1", self.put(broken, OCI_INDEX, "docker.io", None))
        child = self.manifest(self.blob(b"config"))
        for _ in range(8):
            child = self.index_of(child)
        self.name("x:2", child)
        self.assertEqual([False, False], [image.complete for image in self.page().images])

    def test_too_many_blobs(self) -> None:
        """Of an image with very many blobs not all are looked at."""
        layers = [self.blob(b"%d" % number) for number in range(20)]
        children = [self.manifest(*layers, self.blob(b"own %d" % n)) for n in range(6)]
        for index, complete in (
            (self.index_of(*children[:5]), True),
            (self.index_of(*children), False),
        ):
            found = self.ask(
                lambda books, index=index: summarize(read_tree(books, "docker.io", index, 5 * 21))
            )
            self.assertEqual((25, complete), (found.blobs, found.complete))

    def test_schema1(self) -> None:
        """The layers of a schema 1 manifest count as far as they are stored."""
        layer = self.blob(b"layer")
        document: dict[str, object] = {"schemaVersion": 1, "fsLayers": [{"blobSum": str(layer)}]}
        self.name("x:1", self.put(document, DOCKER_SCHEMA1, "docker.io", None))
        self.assertEqual(1, self.only().stored_blobs)

    def test_pulls(self) -> None:
        """Pulls are counted, and the last one is known."""
        digest = self.manifest(self.blob(b"config"))
        self.name("x:1", digest)
        for _ in range(5):
            self.clock.advance(100)
            self.observed.touch(manifest_key("docker.io", digest), self.clock.seconds())
            self.successResultOf(self.account.flush())
        image = self.only()
        self.assertEqual((5, self.clock.seconds()), (image.pulls, image.used))

    def test_pinned(self) -> None:
        """A pin of a tag or of a digest is seen at the images that it is about."""
        digest = self.manifest(self.blob(b"config"))
        self.name("x:1", digest)
        self.result(self.management.pin(subject("x:1")))
        self.assertTrue(self.only().pinned)
        self.result(self.management.unpin(subject("x:1")))
        self.assertFalse(self.only().pinned)
        self.result(self.management.pin(subject(f"x@{digest}")))
        self.assertTrue(self.only().pinned)

    def test_json(self) -> None:
        """A page is the same after it was JSON."""
        self.name("x:1", self.manifest(self.blob(b"config")))
        page = self.page()
        self.assertEqual(page, ImagePage.from_json(page.to_json()))


class Several(ListTestCase):
    """The order of images, and which of them are listed."""

    def fill(self) -> None:
        for number, name in enumerate(("b/c:1", "b/c:2", "a/b:1", "example.com/z:1")):
            self.clock.advance(100)
            layer = self.blob(b"%d" % number * (1000 - 100 * number))
            host = OWN if name.startswith("ex") else "docker.io"
            self.name(name, self.manifest(layer, host=host, repository=name.partition(":")[0]))
        self.clock.advance(100)
        self.single = self.manifest(self.blob(b"single"), repository="b/c")

    def test_order(self) -> None:
        """Registries by name, in each the tags by name, and then what has none."""
        self.fill()
        expected = [
            "docker.io/a/b:1",
            "docker.io/b/c:1",
            "docker.io/b/c:2",
            f"docker.io/b/c@{self.single}",
            "example.com/z:1",
        ]
        self.assertEqual(expected, self.names())

    def test_pages(self) -> None:
        """Pages of any size have all images once, in the same order."""
        self.fill()
        everything = self.names()
        for limit in (1, 2, 3, 5, 1000):
            found, after = [], None
            while True:
                page = self.page(limit=limit, after=after)
                self.assertLessEqual(len(page.images), limit)
                found += [image.name for image in page.images]
                after = page.next
                if after is None:
                    break
            self.assertEqual(everything, found)

    def test_patterns(self) -> None:
        """A pattern is about whole names, names without a tag, and names as Docker writes them."""
        self.fill()
        self.assertEqual(["example.com/z:1"], self.names("example.com/*"))
        self.assertEqual(["docker.io/a/b:1"], self.names("docker.io/a/b"))
        self.assertEqual(["docker.io/a/b:1"], self.names("a/b"))
        self.assertEqual(["docker.io/b/c:2", "example.com/z:1"], self.names("*:2", "*z:1"))
        self.assertEqual([], self.names("a"))

    def test_registry(self) -> None:
        """The images of one registry."""
        self.fill()
        self.assertEqual(["example.com/z:1"], self.names(registry="example.com"))
        self.assertEqual(4, len(self.names(registry="docker.io")))
        self.assertEqual(["example.com/z:1"], self.names(registry="example.com", order=Order.AGE))
        self.assertEqual([], self.names(registry="elsewhere.example"))

    def test_orders(self) -> None:
        """The largest, the oldest or the most recently used images first, or the other way round."""
        self.fill()
        large = self.names(order=Order.SIZE, limit=1000)
        self.assertEqual("docker.io/b/c:1", large[0])
        old = self.names(order=Order.AGE, limit=2)
        self.assertEqual(["docker.io/b/c:1", "docker.io/b/c:2"], old)
        self.assertEqual([f"docker.io/b/c@{self.single}"], self.names(order=Order.USE, limit=1))
        self.assertEqual(
            [f"docker.io/b/c@{self.single}"], self.names(order=Order.AGE, reverse=True, limit=1)
        )

    def test_refused(self) -> None:
        """A limit out of range, a page in another order, and text that is no place are refused."""
        for wanted in (
            {"limit": 0},
            {"limit": 1001},
            {"order": Order.SIZE, "after": "docker.io/a:1"},
            {"reverse": True},
            {"after": "nowhere"},
            {"after": "docker.io@\N{SUPERSCRIPT TWO}"},
            {"after": "docker.io@" + 30 * "9"},
        ):
            self.fails(self.management.list(Wanted(**wanted)), InvalidName)
        self.fails(self.management.list(Wanted(("x" * 600,))), InvalidName)

    def test_off(self) -> None:
        """While the account cannot be used, that is said."""
        self.account._turn_off("broken")
        self.account._database._close()
        self.fails(self.management.list(Wanted()), NotReady)
