"""The manifests in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest, memory_of
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.recent import (
    MEMORY_OF_LARGE,
    MEMORY_OF_SMALL,
    SMALL,
    RecentManifests,
)


def manifest(size: int) -> Manifest:
    """Return a manifest of so many bytes."""
    return Manifest(bytes(size), OCI_MANIFEST, Digest.of(b""))


class Recent(SynchronousTestCase):
    """Manifests that come into memory."""

    def setUp(self) -> None:
        self.recent = RecentManifests()

    def fill(self, size: int, count: int) -> list[int]:
        """Add manifests of a size; return the numbers of those that are there."""
        for number in range(count):
            self.recent.add(f"{size}-{number}", manifest(size))
        return [n for n in range(count) if self.recent.get(f"{size}-{n}") is not None]

    def test_bounded(self) -> None:
        """They stay below their limits, small ones with their overhead; the oldest go first."""
        for size, count, limit in (
            (10, 10_000, MEMORY_OF_SMALL),
            (SMALL, 300, MEMORY_OF_SMALL),
            (SMALL + 1, 100, MEMORY_OF_LARGE),
            (1 << 20, 10, MEMORY_OF_LARGE),
        ):
            self.recent = RecentManifests()
            there = self.fill(size, count)
            self.assertEqual(there, list(range(count - len(there), count)))
            self.assertEqual(self.recent.memory, len(there) * memory_of(manifest(size).pack()))
            self.assertLessEqual(self.recent.memory, limit)
            self.assertGreater(self.recent.memory, limit - 2 * memory_of(manifest(size).pack()))

    def test_largest(self) -> None:
        """The largest manifest there may be is kept, alone with the small ones."""
        self.assertEqual(self.fill(MAX_MANIFEST_SIZE, 3), [2])

    def test_large_ones_do_not_displace_small_ones(self) -> None:
        """However many large ones come, the small ones stay."""
        self.fill(100, 1000)
        self.fill(1 << 20, 50)
        self.assertIsNotNone(self.recent.get("100-0"))
        self.fill(100, 10_000)
        self.assertIsNotNone(self.recent.get(f"{1 << 20}-49"))

    def test_least_recently_used_go_first(self) -> None:
        """What is used stays, what is merely looked at does not."""
        for key in ("used", "seen"):
            self.recent.add(key, manifest(SMALL))
        for number in range(300):
            self.assertIsNotNone(self.recent.use("used"))
            self.recent.get("seen")
            self.recent.add(str(number), manifest(SMALL))
        self.assertIsNone(self.recent.use("seen"))

    def test_replaced(self) -> None:
        """A manifest takes the place of another of any size; a forgotten one is not counted."""
        for size in (10, SMALL + 1, 10):
            self.recent.add("a", manifest(size))
            self.assertEqual(self.recent.use("a"), manifest(size).pack())
            self.assertEqual(self.recent.get("a"), manifest(size))
            self.assertEqual(self.recent.memory, memory_of(manifest(size).pack()))
        for _ in range(2):
            self.recent.forget("a")
            self.assertEqual(self.recent.memory, 0)
