"""The recently used manifests in memory, bounded by their size."""

from __future__ import annotations

from oci_registry.spec.manifest import Manifest
from oci_registry.streams.recent import RecentTable

SMALL = 64 * 1024
"""The largest size of a small manifest in bytes; nearly all are small."""
MEMORY_OF_SMALL = 12 * 1024 * 1024
"""Approximate bytes of memory for all small manifests."""
MEMORY_OF_LARGE = 4 * 1024 * 1024
"""Approximate bytes of memory for all large ones; a larger one is kept as the only one."""


class RecentManifests:
    """Manifests by key; the least recently used are evicted.

    Large and small ones have separate limits, so that a few large ones do not evict many small ones.
    """

    def __init__(self) -> None:
        self._small = _table(MEMORY_OF_SMALL)
        self._large = _table(MEMORY_OF_LARGE)

    @property
    def memory(self) -> int:
        """Approximate bytes that they take in memory."""
        return self._small.weight + self._large.weight

    def get(self, key: str) -> Manifest | None:
        """Return a manifest, without counting that as a use."""
        return self._small.peek(key) or self._large.peek(key)

    def use(self, key: str) -> Manifest | None:
        """Return a manifest, and mark it as the most recently used one."""
        return self._small.get(key) or self._large.get(key)

    def add(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of an older one with this key."""
        self.forget(key)
        table = self._small if len(manifest.raw) <= SMALL else self._large
        table.put(key, manifest)

    def forget(self, key: str) -> None:
        """Remove a manifest."""
        self._small.remove(key)
        self._large.remove(key)


def _table(memory: int) -> RecentTable[str, Manifest]:
    return RecentTable(None, memory, lambda _, manifest: manifest.memory)
