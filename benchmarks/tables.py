"""Samples of the same thing, told as medians beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median


class Table:
    """Rows of samples, a column for each who gave some; the first column is compared with the others."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._rows: dict[tuple[str, str], dict[str, list[float]]] = {}

    def add(self, what: str, unit: str, column: str, figure: float) -> None:
        """Take a sample."""
        self._rows.setdefault((what, unit), {}).setdefault(column, []).append(figure)

    def __str__(self) -> str:
        """The table: medians, how far from each other the samples are, and ratios."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        first, *others = self._columns
        head = f"{'':20} {'':16} {first:>8} {'from..to':>15}"
        yield head + "".join(f" {other:>9} {'from..to':>15} {'ratio':>6}" for other in others)
        for (what, unit), samples in self._rows.items():
            ours = samples[first]
            line = f"{what:20} {unit:16} {median(ours):8.2f} {_spread(ours):>15}"
            for other in others:
                theirs = samples.get(other)
                if theirs:
                    ratio = median(ours) / median(theirs)
                    line += f" {median(theirs):9.2f} {_spread(theirs):>15} {ratio:6.2f}"
                else:
                    line += " " * 33
            yield line.rstrip()


def _spread(samples: Sequence[float]) -> str:
    return f"{min(samples):.2f}..{max(samples):.2f}"
