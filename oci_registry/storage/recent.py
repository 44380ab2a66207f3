"""The recently used manifests in memory, bounded by their size."""

from __future__ import annotations

from oci_registry.spec.manifest import Manifest, PackedManifest, memory_of
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
        packed = self._small.peek(key) or self._large.peek(key)
        return None if packed is None else Manifest.unpack(packed)

    def use(self, key: str) -> PackedManifest | None:
        """Return a manifest, and mark it as the most recently used one; another object after each change."""
        return self._small.get(key) or self._large.get(key)

    def add(self, key: str, manifest: Manifest) -> None:
        """Keep a manifest, in place of another one with this key."""
        packed = manifest.pack()
        if self.use(key) == packed:
            return
        self.forget(key)
        table = self._small if len(manifest.raw) <= SMALL else self._large
        table.put(key, packed)

    def forget(self, key: str) -> None:
        """Remove a manifest."""
        self._small.remove(key)
        self._large.remove(key)


def _table(memory: int) -> RecentTable[str, PackedManifest]:
    return RecentTable(None, memory, lambda _, packed: memory_of(packed))
