"""The results of a run: samples for each row and server, and where and when they were taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import asdict, define, field

FORMAT = 1
"""The version of the JSON file; another one is refused."""


@define
class Row:
    """One kind of work; *samples* are for each server in the order of the rounds.

    *load* has for each sample the CPU time of the load generator, as a part of the server's.
    """

    group: str
    what: str
    unit: str
    samples: dict[str, list[float]] = field(factory=dict)
    load: dict[str, list[float]] = field(factory=dict)

    def add(self, server: str, figure: float, load: float | None = None) -> None:
        """Take a sample."""
        self.samples.setdefault(server, []).append(figure)
        if load is not None:
            self.load.setdefault(server, []).append(load)

    def remove(self, server: str) -> None:
        """Forget the samples of a server that has failed."""
        self.samples.pop(server, None)
        self.load.pop(server, None)


@define
class Results:
    """A run. The first of *servers* is the one that the others are compared with."""

    servers: list[str]
    about: dict[str, str] = field(factory=dict)
    notes: list[str] = field(factory=list)
    rows: list[Row] = field(factory=list)

    def row(self, group: str, what: str, unit: str) -> Row:
        """Return a row, a new one if there is none."""
        for row in self.rows:
            if (row.what, row.unit) == (what, unit):
                return row
        self.rows.append(Row(group, what, unit))
        return self.rows[-1]

    def note(self, sentence: str) -> None:
        """Say something about the run, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def dump(self) -> str:
        """Return the text of the file, which `parse` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.dump())


def parse(text: str) -> Results:
    """Return the results of a file; ValueError if it is none of ours."""
    found: Any = json.loads(text)
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise ValueError("not the results of a benchmark")
    try:
        rows = [Row(**row) for row in found.pop("rows")]
        return Results(**found, rows=rows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the results of a benchmark: {error}") from None


def load(path: Path) -> Results:
    """Read a file; ValueError if it is none of ours."""
    return parse(path.read_text())
