"""Numbers in equal parts of time, for a bounded time; the caller passes the time."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

MOST = 2**53
"""The largest number: some JSON parsers do not read larger ones exactly."""


class Ring:
    """The last *count* parts of time, of *step* seconds each, with *width* numbers in each part.

    Parts are aligned to the epoch, and each has one place. So a jump of the clock leaves parts empty,
    or adds to earlier parts; nothing is counted twice or becomes negative. Takes 8 bytes for each
    number.
    """

    def __init__(self, count: int, step: int, width: int) -> None:
        self.count = count
        self.step = step
        self._width = width
        self._parts = array("q", [-1]) * count
        self._numbers = array("q", [0]) * (count * width)

    def add(self, when: float, numbers: Sequence[int]) -> None:
        """Add numbers to the part in which *when* is."""
        self._add(int(when // self.step), numbers)

    def _add(self, part: int, numbers: Sequence[int]) -> None:
        if part < 0:
            return
        place = part % self.count
        start = place * self._width
        if self._parts[place] != part:
            self._parts[place] = part
            self._numbers[start : start + self._width] = array("q", [0]) * self._width
        for at, number in enumerate(numbers, start):
            self._numbers[at] = min(MOST, self._numbers[at] + number)

    def series(self, now: float) -> list[tuple[int, tuple[int, ...]]]:
        """Return the beginning and the numbers of each part up to *now*, earliest first; 0 if none."""
        last = int(now // self.step)
        nothing = (0,) * self._width
        return [
            (part * self.step, self._at(part % self.count) if self._has(part) else nothing)
            for part in range(last - self.count + 1, last + 1)
        ]

    def _has(self, part: int) -> bool:
        return part >= 0 and self._parts[part % self.count] == part

    def _at(self, place: int) -> tuple[int, ...]:
        start = place * self._width
        return tuple(self._numbers[start : start + self._width])

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield the number of each part, counted from the epoch, and its numbers."""
        for place, part in enumerate(self._parts):
            if part >= 0:
                yield (part, *self._at(place))

    def restore(self, rows: Iterable[Sequence[int]]) -> None:
        """Add the rows of an earlier `rows`, but keep later parts."""
        for part, *numbers in rows:
            if part >= self._parts[part % self.count]:
                self._add(part, numbers)
