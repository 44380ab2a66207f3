"""What an image consists of."""

from __future__ import annotations

import json

from attrs import Factory, frozen
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.contents import Contents, Wanted, chosen, every, walk
from oci_registry.spec.contents import Unreadable
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST
from oci_registry.spec.platforms import Platform
from tests.support.bundles import described, image_parts, index_of

PLATFORMS = ("linux/amd64", "linux/arm64", "windows/amd64")


@frozen
class Memory:
    """Manifests and blobs in memory."""

    manifests: dict[Digest, Manifest] = Factory(dict)
    blobs: dict[Digest, int] = Factory(dict)

    def find(self, digest: Digest) -> Manifest | None:
        return self.manifests.get(digest)

    def has(self, blob: Descriptor) -> bool:
        return self.blobs.get(blob.digest, -1) == blob.size

    def add(self, raw: bytes, media_type: str = OCI_MANIFEST) -> Manifest:
        manifest = Manifest.read(raw, media_type)
        self.manifests[manifest.digest] = manifest
        return manifest


class Walking(SynchronousTestCase):
    """An index with three platforms."""

    def setUp(self) -> None:
        self.shelf = Memory()
        self.images: dict[str, Manifest] = {}
        raws = {}
        for platform in PLATFORMS:
            raws[platform], blobs = image_parts("x", platform)
            self.images[platform] = self.shelf.add(raws[platform])
            self.shelf.blobs.update({digest: len(data) for digest, data in blobs.items()})
        self.top = self.shelf.add(index_of(raws), OCI_INDEX)

    def walk(self, wanted: Wanted = every, *, partly: bool = False) -> Contents:
        return walk(self.shelf, self.top, wanted, partly=partly)

    def test_all(self) -> None:
        """All platforms with their blobs belong to it, the index first."""
        found = self.walk()
        self.assertEqual([self.top, *self.images.values()], list(found.manifests.values()))
        self.assertEqual(self.shelf.blobs, found.blobs)
        self.assertEqual(([], []), (found.missing, found.left_out))
        self.assertEqual(list(PLATFORMS), found.platforms)

    def test_chosen(self) -> None:
        """Only chosen platforms belong to it; one that is not in the index is missing."""
        found = self.walk(chosen((Platform("linux", "arm64"),)))
        self.assertEqual((["linux/arm64"], 2), (found.platforms, len(found.blobs)))
        self.assertEqual(2, len(found.left_out))
        (missing,) = self.walk(chosen((Platform("linux", "s390x"),))).missing
        self.assertIn("linux/amd64, linux/arm64, windows/amd64", missing)

    def test_missing(self) -> None:
        """Missing manifests and blobs, and blobs of another size, are named."""
        del self.shelf.manifests[self.images["linux/amd64"].digest]
        blob = self.images["linux/arm64"].blobs[0]
        self.shelf.blobs[blob.digest] += 1
        first, second = self.walk().missing
        self.assertIn(f"{self.images['linux/amd64'].digest} (linux/amd64)", first)
        self.assertEqual(f"blob {blob.digest}", second)

    def test_partly(self) -> None:
        """Platforms that are not complete can be left out, but not all of them."""
        del self.shelf.blobs[self.images["linux/amd64"].blobs[1].digest]
        found = self.walk(partly=True)
        self.assertEqual((["linux/arm64", "windows/amd64"], []), (found.platforms, found.missing))
        self.shelf.blobs.clear()
        (missing,) = self.walk(partly=True).missing
        self.assertIn("any complete platform", missing)

    def test_attestations(self) -> None:
        """What has no platform belongs to all of them, and to none that is chosen."""
        raw, blobs = image_parts("signed", "linux/amd64")
        self.shelf.add(raw)
        self.shelf.blobs.update({digest: len(data) for digest, data in blobs.items()})
        unknown = {"os": "unknown", "architecture": "unknown"}
        document = json.loads(self.top.raw)
        document["manifests"].append({**described(raw, OCI_MANIFEST), "platform": unknown})
        self.top = self.shelf.add(json.dumps(document).encode(), OCI_INDEX)
        self.assertEqual(5, len(self.walk().manifests))
        self.assertEqual(2, len(self.walk(chosen((Platform("linux", "amd64"),))).manifests))

    def test_unreadable(self) -> None:
        """What cannot be read as a whole is no image that is complete."""
        layers = [described(b"%d" % number, "x/y") for number in range(3000)]
        for raw, media_type in (
            (b'{"manifests": 1}', OCI_INDEX),
            (b'{"manifests": [{"digest": "sha256:1"}]}', OCI_INDEX),
            (b'{"schemaVersion": 1, "fsLayers": []}', DOCKER_SCHEMA1),
            (json.dumps({"config": {}, "layers": layers}).encode(), OCI_MANIFEST),
        ):
            manifest = Manifest.read(raw, media_type)
            self.assertRaises(Unreadable, walk, self.shelf, manifest, every)

    def test_nested(self) -> None:
        """Indexes in indexes are followed to some depth, and an index that is in itself too."""
        raw = self.top.raw
        for _ in range(2):
            value = {"schemaVersion": 2, "manifests": [described(raw, OCI_INDEX)]}
            raw = json.dumps(value).encode()
            top = self.shelf.add(raw, OCI_INDEX)
        self.assertEqual([], walk(self.shelf, top, every).missing)
        for _ in range(3):
            value = {"schemaVersion": 2, "manifests": [described(raw, OCI_INDEX)]}
            raw = json.dumps(value).encode()
            top = self.shelf.add(raw, OCI_INDEX)
        self.assertRaises(Unreadable, walk, self.shelf, top, every)
