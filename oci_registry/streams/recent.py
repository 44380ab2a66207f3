"""Tables of the most recently used entries, bounded in number, or also in weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Atom = TypeVar("Atom", str, bytes, float, int, bool)
_PART = 16
"""Of a full table one in so many entries is removed at once."""


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
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

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

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._weight = 0

    def find(self, wanted: Callable[[V], bool]) -> list[tuple[K, V]]:
        """Return the entries whose value is *wanted*, without counting as a use."""
        return [(key, value) for key, value in self._entries.items() if wanted(value)]


class RecentValues(Generic[Atom]):
    """Keeps the most recently used strings, bytes or numbers by name: at most *entries*.

    The garbage collector traverses none of them, however many there are, since it ignores a plain dictionary
    that has only such values. It traverses each node of an OrderedDict.
    """

    def __init__(self, entries: int) -> None:
        self._most = entries
        # Dictionaries keep their order: what is used is taken out and put in again.
        self._values: dict[str, Atom] = {}
        self.peek: Callable[[str], Atom | None] = self._values.get
        """Returns a value or None, without counting as a use. Each hit calls it: a method would take longer."""

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, the most recently used last."""
        return iter(self._values)

    @property
    def is_full(self) -> bool:
        """Whether another entry would remove some."""
        return len(self._values) >= self._most

    def get(self, name: str) -> Atom | None:
        """Return a value or None, which counts as a use."""
        value = self._values.pop(name, None)
        if value is not None:
            self._values[name] = value
        return value

    def put(self, name: str, value: Atom) -> None:
        """Add or replace a value; remove the least recently used if there are too many."""
        values = self._values
        values.pop(name, None)
        values[name] = value
        if len(values) > self._most:
            # One by one, the dictionary would look for its first entry among more and more gaps.
            for oldest in list(islice(values, max(1, self._most // _PART))):
                del values[oldest]

    def remove(self, name: str) -> None:
        """Remove a value, if it is there."""
        self._values.pop(name, None)

    def entries(self) -> dict[str, Atom]:
        """Return a copy of all of them."""
        return dict(self._values)

    def clear(self) -> None:
        """Remove all values."""
        self._values.clear()
