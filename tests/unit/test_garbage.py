"""How many objects of the caches the garbage collector scans, which delays all requests."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.recent import RecentManifests

COUNT = 200
LAYERS = 30


def image(number: int) -> Manifest:
    """Return the manifest of an image with layers of its own."""
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": str(Digest.of(b"%d %d" % (number, layer))),
            "size": 1000 + layer,
        }
        for layer in range(LAYERS)
    ]
    config = {**layers[0], "mediaType": "application/vnd.oci.image.config.v1+json"}
    return Manifest.read(
        json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode(), OCI_MANIFEST
    )


class Garbage(SynchronousTestCase):
    """What is added to the caches."""

    def tracked(self, add: Callable[[int], None]) -> float:
        """Return how many objects there are more for the collector after each call."""
        add(0)
        gc.collect()
        before = len(gc.get_objects())
        for number in range(1, COUNT + 1):
            add(number)
        # The collector finds out that a tuple needs no look.
        gc.collect()
        return (len(gc.get_objects()) - before) / COUNT

    def test_manifests(self) -> None:
        """A manifest in memory is two objects, however many layers it has."""
        recent = RecentManifests()
        found = self.tracked(lambda number: recent.add(str(number), image(number)))
        self.assertIsNotNone(recent.get("0"))
        self.assertLess(found, 2.5)

    def test_sizes(self) -> None:
        """Sizes of layers are none at all."""
        sizes = KnownSizes()
        found = self.tracked(lambda number: sizes.learn("docker.io", "library/app", image(number)))
        self.assertEqual(1029, sizes.get("docker.io", "library/app", Digest.of(b"7 29")))
        self.assertLess(found, 0.5)
