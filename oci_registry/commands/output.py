"""Prints what a command outputs: lines or JSON to stdout, problems and progress to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

from attrs import define, field

from oci_registry.commands.options import PROGRAM


class Progress(Protocol):
    """Shows how many bytes of a whole are done."""

    def begin(self, what: str, total: int) -> None:
        """Begin to show *what*, which has *total* bytes."""

    def advance(self, done: int) -> None:
        """Count bytes."""

    def grow(self, total: int) -> None:
        """Set the *total* bytes of the whole, as far as they are known."""

    def end(self) -> None:
        """End the display. Idempotent."""


class NoProgress:
    """Shows nothing: the output is not a terminal, or rich is not installed."""

    def begin(self, what: str, total: int) -> None:
        """Show nothing."""

    def advance(self, done: int) -> None:
        """Count nothing."""

    def grow(self, total: int) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Do nothing."""


class Bar:
    """A bar of rich on a terminal."""

    def __init__(self, columns: Any) -> None:
        self._bar = columns
        self._task: Any = None

    def begin(self, what: str, total: int) -> None:
        """Show a bar."""
        self.end()
        self._bar.start()
        self._task = self._bar.add_task(what, total=total)

    def advance(self, done: int) -> None:
        """Move the bar."""
        self._bar.advance(self._task, done)

    def grow(self, total: int) -> None:
        """Set the total of the bar."""
        self._bar.update(self._task, total=total)

    def end(self) -> None:
        """Remove the bar."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.stop()
            self._task = None


def progress_on(stream: TextIO) -> Progress:
    """Return a bar if *stream* is a terminal and rich is installed, else `NoProgress`."""
    if not stream.isatty():
        return NoProgress()
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn  # noqa: PLC0415
        from rich.progress import Progress as Bars  # noqa: PLC0415
    except ImportError:
        return NoProgress()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    return Bar(Bars(*columns, console=Console(file=stream), transient=True))


@define
class Output:
    """Prints the output of the command *name*. With *json*, only `finish` prints to *out*."""

    name: str
    out: TextIO
    err: TextIO
    json: bool = False
    progress: Progress = field(factory=NoProgress)
    problems: list[str] = field(factory=list)

    def line(self, text: str) -> None:
        """Print a line of the result."""
        if not self.json:
            print(text, file=self.out)

    def note(self, text: str) -> None:
        """Print something that is not a part of the result."""
        print(f"{PROGRAM} {self.name}: {text}", file=self.err)

    def problem(self, text: str) -> None:
        """Print something that is missing or wrong."""
        self.problems.append(text)
        self.note(text)

    def finish(self, document: Mapping[str, object]) -> None:
        """Print the result as JSON, if requested, with all problems."""
        if self.json:
            whole: dict[str, object] = {**document, "problems": self.problems}
            print(json.dumps(whole, indent=2), file=self.out)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 blob``, ``2 blobs``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def some(items: Sequence[str], most: int = 5) -> str:
    """Return the first items as a list, and the number of further ones."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
