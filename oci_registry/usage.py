"""The text of ``--help``: how to call a command, and its options in groups."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

from attrs import frozen
from twisted.python.usage import Options, UsageError

_INDENT = "  "
_GAP = "  "
# The widest first column.
_LEFT = 28
_NARROWEST = 40


class UpstreamFileError(UsageError):
    """Only the content of the upstream file is invalid, so help on options would not help."""


@frozen
class Option:
    """An option: its flag, the name of its value, its text and its letter.

    Without the name of a value, it is a switch. Without a text, it has a method, whose docstring is the
    text.
    """

    flag: str
    value: str = ""
    text: str = ""
    letter: str | None = None

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value and has no method."""
        return bool(self.text and not self.value)

    @property
    def is_parameter(self) -> bool:
        """Whether it takes a value and has no method."""
        return bool(self.text and self.value)


@frozen
class Group:
    """Options that belong together."""

    title: str
    options: Sequence[Option]


def width() -> int:
    """Return the columns of the terminal."""
    columns = os.environ.get("COLUMNS", "")
    return max(_NARROWEST, int(columns) if columns.isascii() and columns.isdigit() else 80)


def wrap(text: str, columns: int) -> str:
    """Return a wrapped paragraph with a line end."""
    return textwrap.fill(text, columns) + "\n"


def table(title: str, rows: Sequence[tuple[str, str]], columns: int) -> str:
    """Return a heading and rows of two columns; the text for a long name starts below it."""
    left = min(_LEFT, max(len(name) for name, _ in rows))
    indent = " " * (len(_INDENT) + left + len(_GAP))
    lines = [f"{title}:"]
    for name, text in rows:
        start = f"{_INDENT}{name:<{left}}{_GAP}"
        if len(name) > left:
            lines.append(f"{_INDENT}{name}")
            start = indent
        lines += textwrap.wrap(
            " ".join(text.split()),
            max(columns, len(indent) + 20),
            initial_indent=start,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
    return "\n".join(lines) + "\n"


def option_groups(options: Options, groups: Sequence[Group], columns: int) -> str:
    """Return the options of a command, group by group; each must be in one."""
    letters = {long: short for short, long in options.synonyms.items() if len(short) == 1}
    texts = []
    for group in groups:
        rows = []
        for option in group.options:
            flag = option.flag
            short = f"-{letters[flag]}, " if flag in letters else "    "
            shown = f"{short}--{flag}" + (f"={option.value}" if option.value else "")
            rows.append((shown, _lowered(str(options.docs[flag] or "").strip())))
        texts.append(table(group.title, rows, columns))
    return "\n".join(texts)


def _lowered(text: str) -> str:
    """Return a docstring as the text after a flag: without a capital, unless the word is in capitals."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
