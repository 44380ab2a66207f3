"""The tables of a page in Markdown."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
REFERENCE = PROJECT / "docs" / "reference"
_CELLS = re.compile(r"(?<!\\)\|")

Table = list[list[str]]


def tables(page: Path) -> list[Table]:
    """Return the rows of each table, without its head."""
    return [table for _, table in _titled(page)]


def table_below(page: Path, heading: str, number: int = 0) -> Table:
    """Return a table below a heading, or below none if that is empty."""
    return [table for title, table in _titled(page) if title == heading][number]


def _titled(page: Path) -> list[tuple[str, Table]]:
    found: list[tuple[str, Table]] = []
    title, before = "", ""
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("|"):
            if not before.startswith("|"):
                found.append((title, []))
            cells = (cell.strip().replace("\\|", "|") for cell in _CELLS.split(line)[1:-1])
            found[-1][1].append(list(cells))
        before = line
    return [(title, table[2:]) for title, table in found]
