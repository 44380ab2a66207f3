"""How much is stored, and which repositories hold it."""

from __future__ import annotations

from oci_registry.account.shares import Share, Shares, Slices
from oci_registry.management.answers import DiskUse
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key
from tests.unit.account.support import HUB, OWN
from tests.unit.management.support import ManagementTestCase


class Usage(ManagementTestCase):
    """Sums by repository and registry."""

    def du(self) -> DiskUse:
        use: DiskUse = self.successResultOf(self.management.du())
        return use

    def size(self, *digests: Digest, host: str = HUB) -> int:
        """Return the bytes of blobs and manifests."""
        keys = [key for one in digests for key in (blob_key(one), manifest_key(host, one))]
        return sum(info.size for key in keys if (info := self.driver.look(key)) is not None)

    def test_levels(self) -> None:
        """What is below an index, and an index in it, belongs to the repositories of its tags."""
        blobs = [self.blob(b"%d" % number * 100) for number in range(3)]
        image = self.manifest(*blobs, repository=None)
        index = self.index_of(image, repository=None)
        outer = self.index_of(index, repository=None)
        for name in ("library/x:1", "library/y:1", "library/y:2"):
            self.name(name, outer)
        use = self.du()
        whole = self.size(*blobs, image, index, outer)
        self.assertEqual(
            [("library/x", 1, 3, 3, 0, whole), ("library/y", 2, 3, 3, 0, whole)],
            [
                (one.repository, one.images, one.manifests, one.blobs, one.unique, one.shared)
                for one in sorted(use.repositories, key=lambda one: one.repository or "")
            ],
        )
        self.assertEqual([(HUB, 3, whole, 0)], self.by_registry(use))
        self.assertEqual(whole, use.size)

    def by_registry(self, use: DiskUse) -> list[tuple[str, int, int, int]]:
        return [(one.registry, one.images, one.unique, one.shared) for one in use.registries]

    def test_two_registries(self) -> None:
        """The same image at two registries is stored twice as a manifest, and its blobs are shared."""
        blob = self.blob(b"a" * 100)
        image = self.manifest(blob)
        self.assertEqual(image, self.manifest(blob, host=OWN))
        use, own = self.du(), self.size(image)
        self.assertEqual({(HUB, 1, own, 100), (OWN, 1, own, 100)}, set(self.by_registry(use)))
        self.assertEqual((1, 2, 0), (use.blobs, use.manifests, use.unnamed_blobs))

    def test_slices(self) -> None:
        """It does not matter how much one question looks at."""
        for number in range(12):
            blobs = [self.blob(b"%d" % each) for each in (0, number // 3, number)]
            image = self.manifest(*blobs, repository=f"library/{number % 5}")
            if number % 2:
                index = self.index_of(image, self.manifest(blobs[2], repository=None))
                self.name(f"library/{number % 4}:{number}", index)
        self.blob(b"unnamed")

        def found(slices: Slices) -> dict[frozenset[tuple[int, int]], list[int]]:
            sums: dict[frozenset[tuple[int, int]], list[int]] = {}
            shares: list[Share] = []
            self.successResultOf(Shares(slices).add_up(self.account.ask, shares.append))
            for share in shares:
                one = sums.setdefault(share.owners, [0, 0, 0, 0])
                numbers = (share.size, share.blobs, share.manifests, share.singles)
                sums[share.owners] = [a + b for a, b in zip(one, numbers, strict=True)]
            return sums

        self.successResultOf(self.account.flush())
        whole = found(Slices())
        self.assertEqual(24, sum(one[2] for one in whole.values()))
        for size in (1, 2, 3, 7):
            self.assertEqual(whole, found(Slices(size, 1, size, 1)))
            self.assertEqual(whole, found(Slices(size, size, size, size)))
