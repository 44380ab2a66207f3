"""What a process and its descendants have used: CPU time and memory, as the kernel counts them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

_TICK = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


@frozen
class Memory:
    """Memory in MiB: resident, proportional (a shared page counts once), and private and written to."""

    rss: float
    pss: float
    private_dirty: float

    def __add__(self, other: Memory) -> Memory:
        """The memory of both."""
        return Memory(
            self.rss + other.rss, self.pss + other.pss, self.private_dirty + other.private_dirty
        )

    def __sub__(self, other: Memory) -> Memory:
        """What has been added since *other*."""
        return Memory(
            self.rss - other.rss, self.pss - other.pss, self.private_dirty - other.private_dirty
        )


def parse_rollup(text: str) -> Memory:
    """Return the sums of a ``smaps_rollup`` (proc(5)); ValueError if it lacks one of them."""
    sizes: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[name] = int(words[0]) / 1024
    try:
        return Memory(sizes["Rss"], sizes["Pss"], sizes["Private_Dirty"])
    except KeyError as error:
        raise ValueError(f"no {error.args[0]} in smaps_rollup") from None


def parse_stat(text: str) -> tuple[int, float]:
    """Return from a ``stat`` (proc(5)) the parent, and the CPU seconds of children that have ended."""
    # The name, in parentheses, may have spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), (int(fields[13]) + int(fields[14])) / _TICK


def _stat(process: int) -> tuple[int, float]:
    return parse_stat(Path(f"/proc/{process}/stat").read_text(errors="replace"))


def tree(root: int) -> list[int]:
    """Return *root* and all its descendants."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                children[_stat(int(name))[0]].append(int(name))
    found = [root]
    for process in found:
        found += children[process]
    return found


def own_cpu(process: int) -> float:
    """Return the CPU seconds of one process alone."""
    # The clock of another process (clock_getcpuclockid(3)): nanoseconds, where /proc has ticks.
    return time.clock_gettime((~process << 3) | _CPUCLOCK_SCHED)


def cpu(root: int) -> float:
    """Return the CPU seconds that a process and its descendants have used, those that ended included."""
    total = 0.0
    for process in tree(root):
        with suppress(OSError):
            total += own_cpu(process) + _stat(process)[1]
    return total


def memory(root: int) -> Memory:
    """Return the memory of a process and its descendants."""
    total = Memory(0, 0, 0)
    for process in tree(root):
        with suppress(OSError):
            total += parse_rollup(Path(f"/proc/{process}/smaps_rollup").read_text())
    return total


@frozen
class Cores:
    """Which processors the servers run on, and which the load and the upstreams."""

    servers: Set[int]
    load: Set[int]


def divide(available: Set[int]) -> Cores:
    """Give the first half of the processors to the servers; a single one is shared."""
    ordered = sorted(available)
    half = max(1, len(ordered) // 2)
    return Cores(frozenset(ordered[:half]), frozenset(ordered[half:] or ordered))


@contextmanager
def pinned(cores: Set[int]) -> Iterator[None]:
    """Run the calling thread, and what it starts, on *cores* for as long as the context lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
