"""The recently used manifests in memory, bounded by their size."""

from __future__ import annotations

from collections import OrderedDict

from oci_registry.spec.manifest import Manifest

SMALL = 64 * 1024
"""The largest size of a small manifest in bytes; nearly all are small."""
MEMORY_OF_SMALL = 12 * 1024 * 1024
"""Approximate bytes of memory for all small manifests."""
MEMORY_OF_LARGE = 4 * 1024 * 1024
"""Approximate bytes of memory for all large ones; a larger one is kept alone."""


class RecentManifests:
    """Manifests by key; the least recently used are evicted.

    Large and small ones have separate limits, so that a few large ones do not evict many small ones.
    """

    def __init__(self) -> None:
        self._small = _BoundedCache(MEMORY_OF_SMALL)
        self._large = _BoundedCache(MEMORY_OF_LARGE)

    @property
    def memory(self) -> int:
        """Approximate bytes that they take in memory."""
        return self._small.memory + self._large.memory

    def get(self, key: str) -> Manifest | None:
        """Return a manifest, without counting that as a use."""
        return self._small.manifests.get(key) or self._large.manifests.get(key)

    def use(self, key: str) -> Manifest | None:
        """Return a manifest, which is then the most recently used one."""
        manifest = self.get(key)
        if manifest is not None:
            self._cache_for(manifest).manifests.move_to_end(key)
        return manifest

    def add(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one with this key."""
        self.forget(key)
        self._cache_for(manifest).add(key, manifest)

    def forget(self, key: str) -> None:
        """Remove a manifest."""
        self._small.forget(key)
        self._large.forget(key)

    def _cache_for(self, manifest: Manifest) -> _BoundedCache:
        return self._small if len(manifest.raw) <= SMALL else self._large


class _BoundedCache:
    """An LRU cache of manifests, limited by the memory that they take."""

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
