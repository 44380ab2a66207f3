"""One image in full, and why it is kept."""

from __future__ import annotations

from math import inf

from oci_registry.management.answers import ImageDetails, Why
from oci_registry.management.problems import NotStored
from oci_registry.management.rules import Rules
from oci_registry.spec.digest import Digest
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.keys import manifest_key
from tests.unit.account.support import HUB, OWN
from tests.unit.management.support import ManagementTestCase, subject

DAY = 86400.0


class Details(ManagementTestCase):
    """What is shown of an image."""

    def show(self, name: str) -> ImageDetails:
        return self.result(self.management.show(subject(name)))

    def test_tree(self) -> None:
        """Manifests and blobs as they name each other, stored or not."""
        config, absent = self.blob(b"config"), Digest.of(b"absent")
        child, other = self.manifest(config, absent), Digest.of(b"other platform")
        self.name("x:1", self.index_of(child, other))
        top = self.show("x:1").manifest
        self.assertEqual(["linux/a0", "linux/a1"], [each.platform for each in top.manifests])
        stored, missing = top.manifests
        self.assertEqual((True, False), (stored.stored, missing.stored))
        self.assertEqual([True, False], [blob.stored for blob in stored.blobs])
        self.assertEqual((6, None), tuple(blob.stored_size for blob in stored.blobs))
        self.assertEqual((1, 1), tuple(blob.size for blob in stored.blobs))
        details = self.show("x:1")
        self.assertEqual(details, ImageDetails.from_json(details.to_json()))

    def test_tags(self) -> None:
        """All tags that name the digest, of any repository."""
        digest = self.manifest(self.blob(b"config"))
        self.name("x:1", digest)
        self.name("a/b:2", digest)
        self.assertEqual(
            ("docker.io/a/b:2", "docker.io/library/x:1"), self.show(f"x@{digest}").tags
        )

    def test_shared(self) -> None:
        """Images that share blobs or manifests are named, of other registries and without a tag too."""
        shared = self.blob(b"shared")
        child = self.manifest(shared, self.blob(b"one"))
        self.name("x:1", self.index_of(child))
        self.name("x:2", self.index_of(child, Digest.of(b"more")))
        single = self.manifest(shared, self.blob(b"two"), repository="e/f")
        self.manifest(shared, self.blob(b"three"), host=OWN, repository=None)
        found = self.show("x:1").shared_with
        self.assertIn("docker.io/library/x:2", found)
        self.assertIn(f"docker.io/e/f@{single}", found)
        self.assertTrue(any(name.startswith("example.com/@") for name in found))
        self.assertNotIn("docker.io/library/x:1", found)

    def test_many_sharing(self) -> None:
        """Of many images that share a blob, some are named."""
        shared = self.blob(b"shared")
        for number in range(120):
            self.name(f"x:{number}", self.manifest(shared, Digest.of(b"%d" % number)))
        self.assertEqual(50, len(self.show("x:1").shared_with))

    def test_not_stored(self) -> None:
        """What is missing is said: the tag, the digest, or what the tag names."""
        for name, said in (("x:1", "x:1 is not stored"), (f"x@{Digest.of(b'')}", "is not stored")):
            self.assertIn(said, self.fails(self.management.show(subject(name)), NotStored))
        self.name("x:1", Digest.of(b"gone"))
        said = self.fails(self.management.show(subject("x:1")), NotStored)
        self.assertIn(f"names {Digest.of(b'gone')}, which is not stored", said)

    def test_unreadable(self) -> None:
        """A manifest that is corrupt is shown as such."""
        digest = self.manifest(self.blob(b"config"))
        self.name("x:1", digest)
        self.ask(lambda _: None)
        self.driver.place(manifest_key("docker.io", digest), b"{}\nwrong", sealed=True)
        self.assertEqual("it is corrupt", self.show("x:1").manifest.problem)


class Reasons(ManagementTestCase):
    """Why an image is kept."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.manifest(self.blob(b"config"))
        self.name("x:1", self.digest)

    def why(self, name: str = "x:1") -> Why:
        why = self.result(self.management.why(subject(name)))
        self.assertEqual(why, Why.from_json(why.to_json()))
        return why

    def follow(self, **rules: object) -> None:
        self.manage(Rules(**rules))  # type: ignore[arg-type]

    def test_age(self) -> None:
        """How long it is kept follows from its last use, how fresh it is from its last confirmation."""
        self.follow(lifetime=lambda _: 3 * DAY, max_age=lambda _: 3600.0, limited=False)
        now = self.clock.seconds()
        why = self.why()
        self.assertEqual((now + 3 * DAY, now + 3600), (why.expires, why.fresh_until))
        self.assertIn("it is served without asking for another 1 hour", why.reasons)
        self.assertIn("if it is not used, it is removed in 3 days", why.reasons)
        self.clock.advance(4 * DAY)
        why = self.why()
        self.assertIn("it is not fresh any more: the next pull asks the registry", why.reasons)
        self.assertIn(
            "it has not been used for so long that the next sweep removes it", why.reasons
        )

    def test_forever(self) -> None:
        """An image whose registry's images are kept for ever says so, and has no end."""
        self.follow(lifetime=lambda _: inf)
        why = self.why()
        self.assertEqual((True, None, None), (why.forever, why.lifetime, why.expires))
        self.assertIn("images of this registry are kept for ever", why.reasons)

    def test_pinned(self) -> None:
        """A pinned one says who pinned it, and has no end."""
        self.follow(lifetime=lambda _: DAY, pinned=lambda *_: True)
        self.result(self.management.pin(subject("x:1")))
        why = self.why()
        self.assertEqual((("by command", "by the upstream file"), None), (why.pinned, why.expires))

    def test_held(self) -> None:
        """An image that a tag is held at says so, and has no end."""
        self.follow(lifetime=lambda _: DAY, limited=True)
        self.result(HoldStore(self.observed).put(HUB, "library/y", "prod", self.digest, 1.0))
        why = self.why()
        self.assertIsNone(why.expires)
        self.assertEqual("a tag is held at it: it is never evicted", why.reasons[-1])

    def test_queue(self) -> None:
        """With a limit, its place in the eviction's queue counts."""
        self.follow(limited=True)
        self.manifest(self.blob(b"later"))
        why = self.why()
        self.assertEqual(("probation", 0), (why.queue, why.ahead))
        self.assertIn(
            "if room is needed, no image comes before it in the probation queue", why.reasons
        )

    def test_newest(self) -> None:
        """An image with one of the newest tags of its repository says so, if these are kept."""
        for limited in (True, None):
            self.follow(limited=limited, newest_tags={HUB: 1}.__getitem__)
            self.assertIn(
                "it has the newest tag of its repository: images without one are evicted first",
                self.why().reasons,
            )
        self.clock.advance(1)
        self.name("x:2", self.manifest(self.blob(b"later")))
        self.assertNotIn("newest", " ".join(self.why().reasons))
        self.follow(limited=True, newest_tags={HUB: 2}.__getitem__)
        self.assertIn("it has one of the 2 newest tags", self.why().reasons[-1])
        self.follow(limited=False, newest_tags={HUB: 2}.__getitem__)
        self.assertNotIn("newest", " ".join(self.why().reasons))

    def test_scarce(self) -> None:
        """An image whose registry has little left of its rate limit says so, while it is on probation."""
        self.follow(limited=True, scarce=HUB.__eq__)
        self.assertIn("little is left of the rate limit of its registry", self.why().reasons[-1])

    def test_unconfirmed(self) -> None:
        """A tag that must be revalidated says so, whoever decides that."""
        self.follow(max_age=lambda _: DAY, must_revalidate=lambda key: key.endswith("_tags/1"))
        self.assertTrue(self.why().must_revalidate)
        self.follow(max_age=lambda _: DAY)
        self.assertFalse(self.why().must_revalidate)
        self.result(self.management.refresh(subject("x:1")))
        why = self.why()
        self.assertTrue(why.must_revalidate)
        self.assertIn("the next pull asks the registry first", why.reasons[0])

    def test_not_stored(self) -> None:
        """What is not stored has no digest, or one whose manifest is missing."""
        why = self.why("y:1")
        self.assertEqual((None, None), (why.digest, why.image))
        self.name("y:1", Digest.of(b"gone"))
        self.assertEqual(("its manifest is not stored",), self.why("y:1").reasons[-1:])

    def test_incomplete(self) -> None:
        """What is missing is counted."""
        self.name("y:1", self.manifest(self.blob(b"y"), Digest.of(b"absent")))
        self.assertIn("1 of its 2 blobs are stored", self.why("y:1").reasons)

    def test_upstream(self) -> None:
        """What a daemon knows of the registry is handed on."""
        self.follow(upstream=lambda registry: {"up": registry})
        self.assertEqual({"up": "docker.io"}, self.why().upstream)
