"""A table of the most recently used entries, bounded in number and in weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentTable(Generic[K, V]):
    """Keeps the most recently used entries: at most *entries* (None: any number), and *weight* in total.

    *weigh*: returns the weight of an entry, which must not change. The newest entry is kept
    whatever it weighs.
    """

    def __init__(self, entries: int | None, weight: int, weigh: Callable[[K, V], int]) -> None:
        self._most_entries = inf if entries is None else entries
        self._most_weight = weight
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        """The total weight of all entries."""
        return self._weight

    def get(self, key: K) -> V | None:
        """Return an entry, which counts as a use of it, or None."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def peek(self, key: K) -> V | None:
        """Return an entry or None, without counting as a use."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Add or replace an entry; remove the least recently used ones."""
        self.remove(key)
        self._entries[key] = value
        self._weight += self._weigh(key, value)
        while len(self._entries) > 1 and (
            len(self._entries) > self._most_entries or self._weight > self._most_weight
        ):
            self.remove(next(iter(self._entries)))

    def remove(self, key: K) -> None:
        """Remove an entry, if it is there."""
        if key in self._entries:
            self._weight -= self._weigh(key, self._entries.pop(key))

    def find(self, wanted: Callable[[V], bool]) -> list[tuple[K, V]]:
        """Return the entries whose value is *wanted*, without counting as a use."""
        return [(key, value) for key, value in self._entries.items() if wanted(value)]
