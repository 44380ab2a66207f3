"""Counts by key."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

K = TypeVar("K")


class Tally(Counter[K]):
    """A counter that keeps no key whose count is zero, so that it is as small as what it counts."""

    def end(self, key: K) -> None:
        """Count one less of *key*."""
        self[key] -= 1
        if not self[key]:
            del self[key]
