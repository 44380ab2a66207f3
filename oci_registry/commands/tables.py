"""Rows of a result: a table on a terminal, tabs between the columns elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from oci_registry.commands.output import Output
from oci_registry.spec.texts import escaped
from oci_registry.spec.units import in_bytes, roughly

NONE = "-"


@frozen
class Column:
    """A column with a heading; *right*: numbers, aligned on the right."""

    heading: str
    right: bool = False


def print_rows(output: Output, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows, with headings only on a terminal. Control characters are escaped."""
    if output.json:
        return
    plain = [[escaped(cell) for cell in row] for row in rows]
    console = _console(output)
    if console is not None:
        _print_table(console, columns, plain)
    elif output.out.isatty():
        _print_aligned(output, columns, plain)
    else:
        for row in plain:
            output.line("\t".join(row))


def _console(output: Output) -> Any:
    """Return a console of rich if the output is a terminal and rich is installed, else None."""
    if not output.out.isatty():
        return None
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return Console(file=output.out, markup=False, highlight=False, emoji=False)


def _print_table(console: Any, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table  # noqa: PLC0415 - an extra
    from rich.text import Text  # noqa: PLC0415 - an extra

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        # Names must stay whole, so that they can be copied.
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold" if number == 0 else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _print_aligned(
    output: Output, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> None:
    whole = [[column.heading for column in columns], *rows]
    widths = [max(len(row[at]) for row in whole) for at in range(len(columns))]
    for row in whole:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        output.line("  ".join(cells).rstrip())


def size_of(count: int | None) -> str:
    """Return a size as readable text."""
    return NONE if count is None else in_bytes(count)


def ago(when: float | None) -> str:
    """Return how long ago something was."""
    return NONE if when is None else roughly(max(0.0, time.time() - when))


def date(when: float | None) -> str:
    """Return a time in UTC."""
    if when is None:
        return NONE
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
