"""What is counted of pulls: for which images something was fetched, and what rate limits count."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.pull_counts import PullCounts, PullLimits
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST

HUB, OWN = "docker.io", "example.com"
REPOSITORY = "library/x"


def blob(name: str) -> Digest:
    """Return the digest of a blob."""
    return Digest.of(name.encode())


def image(*names: str, kind: str = OCI_MANIFEST) -> Manifest:
    """Return a manifest that names blobs."""
    raw = json.dumps([kind, names]).encode()
    blobs = tuple(Descriptor("a/b", blob(name), 1) for name in names)
    return Manifest(raw, kind, Digest.of(raw), blobs)


class Pulls(SynchronousTestCase):
    """Pulls of images by clients."""

    def setUp(self) -> None:
        self.counts = PullCounts(PullLimits(images=3, of_one=4, blobs=8))

    def pull(self, manifest: Manifest, *missed: str, cached: bool = True) -> int:
        """Pull an image some of whose blobs are not stored; return how many more pulls were counted."""
        before = self.counts.images_fetched
        self.counts.served(HUB, REPOSITORY, manifest, cached=cached)
        for name in missed:
            self.counts.missed(HUB, REPOSITORY, blob(name))
        return self.counts.images_fetched - before

    def test_once(self) -> None:
        """A pull counts once, whatever was fetched for it: the manifest, one blob or all of them."""
        for number, (missed, cached) in enumerate(
            (("abc", False), ("abc", True), ("c", True), ("", False))
        ):
            names = [f"{letter}{number}" for letter in "abc"]
            found = self.pull(image(*names), *[f"{m}{number}" for m in missed], cached=cached)
            self.assertEqual(1, found, (missed, cached))

    def test_from_the_store(self) -> None:
        """A pull for which nothing was fetched is not counted, also after one that was."""
        app = image("a", "b")
        self.assertEqual(1, self.pull(app, "a", "b", cached=False))
        self.assertEqual(0, self.pull(app))
        # It was evicted.
        self.assertEqual(1, self.pull(app, "b", "a", cached=False))

    def test_together(self) -> None:
        """Clients that pull an image while it is fetched are each counted."""
        app = image("a", "b")
        self.counts.served(HUB, REPOSITORY, app, cached=False)
        self.counts.served(HUB, REPOSITORY, app, cached=True)
        for name in ("a", "a", "b", "b"):
            self.counts.missed(HUB, REPOSITORY, blob(name))
        self.assertEqual(2, self.counts.images_fetched)

    def test_which(self) -> None:
        """A blob belongs to the image of the same repository that was pulled last."""
        self.pull(image("base", "a"))
        self.pull(image("base", "b"))
        self.counts.missed(HUB, "library/other", blob("base"))
        self.counts.missed(OWN, REPOSITORY, blob("base"))
        self.counts.missed(HUB, REPOSITORY, blob("unknown"))
        self.assertEqual(0, self.counts.images_fetched)
        self.counts.missed(HUB, REPOSITORY, blob("base"))
        self.counts.missed(HUB, REPOSITORY, blob("b"))
        self.assertEqual(1, self.counts.images_fetched)

    def test_no_image(self) -> None:
        """An index is no image: the pull of one of its images follows."""
        self.assertEqual(0, self.pull(image(kind=OCI_INDEX), cached=False))
        self.assertEqual(1, self.pull(image(kind=DOCKER_SCHEMA1), cached=False))

    def test_bounded(self) -> None:
        """Few images and few blobs are remembered: those that were pulled last."""
        for number in range(10):
            self.pull(image(f"{number}"))
        self.assertEqual(0, self.pull(image("9"), "0"))
        self.assertEqual(1, self.pull(image("8"), "8"))
        self.assertEqual(3, len(self.counts._recent))
        many = image(*[f"many{number}" for number in range(20)])
        self.assertEqual(0, self.pull(many, "many4"))
        self.assertEqual(1, self.pull(many, "many3"))
        for number in range(5):
            self.pull(image(*[f"{number}-{at}" for at in range(4)]))
        self.assertLessEqual(self.counts._blobs, 8)
        self.assertEqual(
            self.counts._blobs, sum(len(i.blobs) for i in self.counts._recent.values())
        )

    def test_routes(self) -> None:
        """The kind of a manifest is behind its route; registries that announce limits are known."""
        metrics = Metrics([OWN])
        counts, app = metrics.pulls, image("a")
        index = evolve(app, blobs=(), media_type=OCI_INDEX)
        self.assertEqual("manifest/image/limited", counts.route(HUB, app))
        self.assertEqual("manifest/limited", counts.route(HUB, index))
        self.assertEqual("manifest/image", counts.route(OWN, app))
        counts.fetched(OWN)
        self.assertEqual(0, counts.manifests_fetched)
        metrics.host(OWN, OWN).budget(100, 99)
        self.assertEqual("manifest/limited", counts.route(OWN, index))
        counts.fetched(OWN)
        self.assertEqual(1, counts.manifests_fetched)
