"""How much is stored: counted by the sweep, and kept up between two of them."""

from __future__ import annotations

from math import isnan

from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key
from tests.unit.eviction.support import DAY, SweepTestCase


class Totals(SweepTestCase):
    """Blobs and manifests, and what is no object."""

    def told(self) -> tuple[float, float]:
        """Return the objects and their bytes."""
        return self.totals.objects, self.totals.size

    def counted(self) -> tuple[int, int]:
        """Return what the medium has of both."""
        objects = [
            info
            for key, (_, info) in self.driver._objects.items()
            if key.startswith("blobs/") or "/_manifests/" in key
        ]
        return len(objects), sum(info.size for info in objects)

    def test_unknown_at_first(self) -> None:
        """Before the first sweep nothing is known."""
        self.blob(b"data")
        self.assertTrue(isnan(self.totals.objects) and isnan(self.totals.size))

    def test_kept_up(self) -> None:
        """After it, new objects are added, and those that a sweep removes taken away."""
        self.blob(b"old")
        self.manifest(b"old config")
        self.swept()
        self.assertEqual(self.counted(), self.told())
        self.clock.advance(10 * DAY)
        self.blob(b"new layer")
        self.tag(self.manifest(b"config", b"new layer"))
        self.assertEqual(self.counted(), self.told())
        self.assertEqual(4, self.totals.objects)
        swept = self.swept(5)
        self.assertEqual((1, 1), (swept.blobs, swept.manifests))
        self.assertEqual(self.counted(), self.told())
        self.assertEqual(2, self.totals.objects)

    def test_corrected(self) -> None:
        """A sweep corrects what others have changed, and does not count files that are no objects."""
        self.swept()
        self.driver.place(blob_key(Digest.of(b"taken over")), b"taken over", sealed=False)
        self.driver.place("blobs/README", b"hello", sealed=False)
        self.assertEqual((0, 0), self.told())
        self.swept()
        self.assertEqual((1, 10), self.told())

    def test_wrong(self) -> None:
        """A blob or a manifest that turns out to be wrong is taken away."""
        digest = Digest.of(b"right")
        self.driver.place(blob_key(digest), b"wrong", sealed=False)
        manifest = self.manifest(b"config")
        self.swept()
        self.assertEqual(2, self.totals.objects)
        self.assertIsNone(self.result(self.blobs.open(digest)))
        (key,) = (key for key in self.driver._objects if "/_manifests/" in key)
        data, info = self.driver._objects[key]
        self.driver._objects[key] = data[:-1] + b"!", info
        self.restart_reading()
        self.assertIsNone(self.result(self.manifests.get("docker.io", manifest.digest)))
        self.assertEqual((0, 0), self.told())

    def restart_reading(self) -> None:
        """Forget the manifests in memory, but not what was counted."""
        totals = self.totals
        self.restart()
        self.manifests._totals = self.totals = totals
