"""A run of the table: what is measured how often, and the order of the samples."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from attrs import frozen

from benchmarks.contenders import Contender
from benchmarks.load import BadResponse
from benchmarks.processes import Cores
from benchmarks.results import Results
from benchmarks.servers import Server

MIB = 1024 * 1024


@frozen
class Plan:
    """How much is done. Sizes are in bytes, times in seconds."""

    rounds: int = 3
    seconds: float = 1.5
    large: int = 1024 * MIB
    small: int = 10 * MIB
    layer: int = 20 * MIB
    idle_connections: int = 1000
    worker_requests: int = 200
    objects: int = 1_000_000
    swept: int = 200_000
    every_row: bool = True


QUICK = Plan(
    seconds=0.4,
    large=64 * MIB,
    layer=2 * MIB,
    worker_requests=50,
    objects=0,
    swept=0,
    every_row=False,
)


class Sample:
    """Figures, and the CPU time of the load generator meanwhile as a part of the server's."""

    def __init__(self, *figures: float, load: float | None = None) -> None:
        self.figures = figures
        self.load = load


Take = Callable[[], Sample]
Work = Callable[[], float]


def _own_cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def costing(
    server: Server, work: Work, scale: float = 1, load: Callable[[], float] = lambda: 0.0
) -> Sample:
    """Return the CPU seconds of a server for each unit of what *work* returns, times *scale*.

    *load*: returns the CPU seconds of a load generator that runs all the time.
    """
    own, used = _own_cpu() + load(), server.cpu()
    done = work()
    used, own = server.cpu() - used, _own_cpu() + load() - own
    if not done:
        raise BadResponse("nothing was received")
    return Sample(used / done * scale, load=own / used if used else None)


@frozen
class Bench:
    """One run: takes samples from all contenders in turn."""

    contenders: Sequence[Contender]
    plan: Plan
    results: Results
    cores: Cores
    work: Path

    def folder(self, contender: Contender) -> Path:
        """Return where a contender keeps what it serves."""
        folder = self.work / contender.name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Return a directory for one sample."""
        with TemporaryDirectory(dir=self.work) as folder:
            yield Path(folder)

    def row(self, group: str, what: str, unit: str, takes: Mapping[str, Take]) -> None:
        """Take the samples of a row that has one figure."""
        self.rows(group, [(what, unit)], takes)

    def rows(self, group: str, kinds: Sequence[tuple[str, str]], takes: Mapping[str, Take]) -> None:
        """Take samples with a figure for each kind, which is a description and a unit.

        In each round there is one of each server; who is first changes from round to round.
        A server that fails is left out, with a note.
        """
        rows = [self.results.row(group, what, unit) for what, unit in kinds]
        names = list(takes)
        for number in range(self.plan.rounds):
            at = number % len(names)
            for name in [*names[at:], *names[:at]]:
                if number and name not in rows[0].samples:
                    continue
                try:
                    sample = takes[name]()
                except (OSError, RuntimeError, BadResponse) as error:
                    self.results.note(f"{rows[0].what}: {name} is left out: {error}")
                    for row in rows:
                        row.remove(name)
                else:
                    for row, figure in zip(rows, sample.figures, strict=True):
                        row.add(name, figure, sample.load)
        for row in rows:
            medians = ", ".join(f"{name} {median(s):.3g}" for name, s in row.samples.items())
            print(f"{time.strftime('%X')} {row.what} ({row.unit}): {medians}", file=sys.stderr)
