"""The manifests that are kept in memory: the recently used ones, by the bytes that they take."""

from __future__ import annotations

from collections import OrderedDict

from oci_registry.spec.manifest import Manifest

SMALL = 64 * 1024
"""Bytes up to which a manifest is a small one; nearly all are."""
MEMORY_OF_SMALL = 12 * 1024 * 1024
"""Bytes that small manifests take in memory, about."""
MEMORY_OF_LARGE = 4 * 1024 * 1024
"""Bytes that large ones take, about; one that is larger than that is kept alone."""


class RecentManifests:
    """Manifests by key, each as long as no others have been used more recently.

    A few large ones do not displace the small ones that everybody pulls.
    """

    def __init__(self) -> None:
        self._small = _Shelf(MEMORY_OF_SMALL)
        self._large = _Shelf(MEMORY_OF_LARGE)

    @property
    def memory(self) -> int:
        """Bytes that they take together, about."""
        return self._small.memory + self._large.memory

    def get(self, key: str) -> Manifest | None:
        """Return a manifest; this is no use of it."""
        return self._small.manifests.get(key) or self._large.manifests.get(key)

    def use(self, key: str) -> Manifest | None:
        """Return a manifest, which is then the most recently used one."""
        manifest = self.get(key)
        if manifest is not None:
            self._shelf_of(manifest).manifests.move_to_end(key)
        return manifest

    def add(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one with this key."""
        self.forget(key)
        self._shelf_of(manifest).add(key, manifest)

    def forget(self, key: str) -> None:
        """Keep a manifest no longer."""
        self._small.forget(key)
        self._large.forget(key)

    def _shelf_of(self, manifest: Manifest) -> _Shelf:
        return self._small if len(manifest.raw) <= SMALL else self._large


class _Shelf:
    """Manifests that share a limit."""

    def __init__(self, limit: int) -> None:
        self.manifests: OrderedDict[str, Manifest] = OrderedDict()
        self.memory = 0
        self._limit = limit

    def add(self, key: str, manifest: Manifest) -> None:
        self.manifests[key] = manifest
        self.memory += manifest.memory
        while self.memory > self._limit and len(self.manifests) > 1:
            self.forget(next(iter(self.manifests)))

    def forget(self, key: str) -> None:
        manifest = self.manifests.pop(key, None)
        if manifest is not None:
            self.memory -= manifest.memory
