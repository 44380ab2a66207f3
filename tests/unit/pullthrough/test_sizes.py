"""What manifests say about the length of blobs."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.sizes import KnownSizes, SizeLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from tests.support.fake_upstream import manifest_of


def describing(*blobs: tuple[Digest, object]) -> Manifest:
    """Return a manifest with these layers."""
    layers = [
        {"mediaType": "application/octet-stream", "digest": str(digest), "size": size}
        for digest, size in blobs
    ]
    return manifest_of(json.dumps({"schemaVersion": 2, "layers": layers}).encode())


A, B = Digest.of(b"a"), Digest.of(b"b")


class Sizes(SynchronousTestCase):
    """Sizes that were learned."""

    def test_learned(self) -> None:
        """A size is known once a manifest of the same registry and repository told it."""
        known = KnownSizes()
        self.assertIsNone(known.get("h", "a/b", A))
        known.learn("h", "a/b", describing((A, 5), (B, 7)))
        self.assertEqual((5, 7), (known.get("h", "a/b", A), known.get("h", "a/b", B)))

    def test_not_elsewhere(self) -> None:
        """A manifest in one repository cannot spoil a blob that another needs."""
        known = KnownSizes()
        known.learn("h", "a/b", describing((A, 5)))
        self.assertIsNone(known.get("h", "a/c", A))
        self.assertIsNone(known.get("other", "a/b", A))

    def test_newer_manifest(self) -> None:
        """The manifest that was read last counts."""
        known = KnownSizes()
        known.learn("h", "a/b", describing((A, 5)))
        known.learn("h", "a/b", describing((A, 6)))
        self.assertEqual(6, known.get("h", "a/b", A))

    def test_malformed(self) -> None:
        """What is no size is not learned."""
        known = KnownSizes()
        for size in (-1, 0, "5", None, 5.5, True, 2**64):
            known.learn("h", "a/b", describing((A, size)))
            self.assertIsNone(known.get("h", "a/b", A))

    def test_bounded(self) -> None:
        """The number of sizes is bounded; the oldest are forgotten."""
        known = KnownSizes(SizeLimits(hints=3))
        digests = [Digest.of(bytes([n])) for n in range(5)]
        for digest in digests:
            known.learn("h", "a/b", describing((digest, 1)))
        found = [known.get("h", "a/b", digest) for digest in digests]
        self.assertEqual([None, None, 1, 1, 1], found)

    def test_used(self) -> None:
        """Those are forgotten that have not been used for longest: asked for, or served again."""
        for served in (True, False):
            known = KnownSizes(SizeLimits(hints=3))
            known.learn("h", "a/b", describing((A, 1)))
            for n in range(5):
                known.learn("h", "a/b", describing((Digest.of(bytes([n])), 1)))
                if served:
                    known.learn("h", "a/b", describing((A, 1)))
                else:
                    self.assertEqual(1, known.get("h", "a/b", A))
            self.assertEqual(1, known.get("h", "a/b", A))

    def test_of_one_manifest(self) -> None:
        """A manifest with any number of blobs costs no more than one with many."""
        known = KnownSizes(SizeLimits(of_one_manifest=1))
        known.learn("h", "a/b", describing((A, 1), (B, 1)))
        self.assertEqual((1, None), (known.get("h", "a/b", A), known.get("h", "a/b", B)))

    def test_contradicted(self) -> None:
        """A hint that is contradicted is forgotten, in that repository; the same manifest tells it again."""
        known = KnownSizes()
        manifest = describing((A, 5))
        for repository in ("a/b", "a/c"):
            known.learn("h", repository, manifest)
        known.contradict("h", "a/c", A, 5)
        self.assertEqual(5, known.get("h", "a/c", A))
        known.contradict("h", "a/c", A, 6)
        known.contradict("h", "a/c", B, 6)
        self.assertEqual((None, 5), (known.get("h", "a/c", A), known.get("h", "a/b", A)))
        known.learn("h", "a/c", manifest)
        self.assertEqual(5, known.get("h", "a/c", A))

    def test_verified(self) -> None:
        """What has been verified goes before what any manifest states; their number is bounded too."""
        known = KnownSizes(SizeLimits(verified=1))
        known.learn("h", "a/b", describing((A, 5)))
        known.verified(A, 6)
        self.assertEqual((6, 6), (known.get("h", "a/b", A), known.get("h", "a/c", A)))
        known.verified(B, 7)
        self.assertEqual((5, 7), (known.get("h", "a/b", A), known.get("h", "a/c", B)))
