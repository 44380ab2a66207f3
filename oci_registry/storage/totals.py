"""How much is stored, for the metrics."""

from __future__ import annotations

from math import nan

from attrs import define


@define
class Walk:
    """The totals of one walk over the store; *size* in bytes."""

    objects: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count one object."""
        self.objects += 1
        self.size += size


class StoredTotals:
    """The number of stored blobs and manifests, and their bytes; NaN before the first walk.

    Changes are added up between two walks. A change during a walk may be counted twice or not at all,
    until the next walk.
    """

    def __init__(self) -> None:
        self.objects: float = nan
        self.size: float = nan

    def correct(self, walk: Walk) -> None:
        """Replace the totals with those of a walk over all blobs and manifests."""
        self.objects, self.size = walk.objects, walk.size

    def add(self, size: int) -> None:
        """Count a new object."""
        self.objects += 1
        self.size += size

    def remove(self, size: int, objects: int = 1) -> None:
        """Count objects that were removed, of *size* bytes in all."""
        self.objects = max(0, self.objects - objects)
        self.size = max(0, self.size - size)
