"""What the soak has shown, and what of it must not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from attrs import Factory, define, frozen

from tests.support.workers import children

MIB = 1024 * 1024
MAX_GROWTH = 32.0
"""By how many MiB the memory of the last quarter may exceed that of the second."""
MAX_OPENED = 64
"""By how many the open files of the last quarter may exceed those of the second.

Each look finds 80 to 160, since hosts fail and clients come and go: the medians of good runs differ by 20."""
MAX_KEPT = 8
"""By how many the open files at rest, when nobody is connected, may exceed those of the start."""


@frozen
class Sample:
    """A look at the daemon's processes: resident memory in MiB, open file descriptors."""

    memory: float
    files: int

    @classmethod
    def of(cls, process: int) -> Sample:
        """Look at it, and at its worker processes, now."""
        memory, files = 0.0, 0
        for each in (process, *children(process)):
            # A command that is just ending has neither.
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{each}/status").read_text()
                memory += int(status.partition("VmRSS:")[2].split()[0]) / 1024
                files += sum(1 for _ in Path(f"/proc/{each}/fd").iterdir())
        return cls(memory, files)


def cpu_seconds(process: int, ticks: int) -> float:
    """Return the CPU time that a process and its workers have used so far."""
    used = 0
    for each in (process, *children(process)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / ticks


@define
class Figures:
    """*seen*: what the clients counted; *samples*: one a second; *upstream*: what the hosts say."""

    seen: Counter[str]
    samples: list[Sample] = Factory(list)
    at_start: Sample = Sample(0.0, 0)
    at_rest: Sample = Sample(0.0, 0)
    upstream: Mapping[str, Any] = Factory(dict)
    left_over: Sequence[str] = ()
    full: int = 0
    removed: int = 0
    crashes: int = 0
    cpu: float = 0.0
    seconds: float = 0.0

    def quarter(self, number: int) -> Sample:
        """Return the median of a quarter of the time; the first has the number 0."""
        length = len(self.samples) // 4
        chosen = self.samples[number * length : (number + 1) * length]
        if not chosen:
            return Sample(0.0, 0)
        return Sample(
            median(sample.memory for sample in chosen),
            int(median(sample.files for sample in chosen)),
        )

    def broken(self) -> list[str]:
        """Return a sentence for each bound that does not hold."""
        seen, second, last = self.seen, self.quarter(1), self.quarter(3)
        growth = last.memory - second.memory
        opened, kept = last.files - second.files, self.at_rest.files - self.at_start.files
        bounds = {
            "nothing was pulled": not seen["pulls"],
            f"{seen['failed pulls']} pulls failed": seen["failed pulls"],
            f"{seen['wrong bytes']} complete responses had wrong bytes": seen["wrong bytes"],
            f"{seen['wrong lengths']} responses announced a wrong length": seen["wrong lengths"],
            f"{seen['connections reset']} connections were reset": seen["connections reset"],
            f"memory has grown by {growth:.0f} MiB": growth >= MAX_GROWTH,
            f"{opened} more files were open in the last quarter": opened > MAX_OPENED,
            f"{kept} more files were open at rest than at the start": kept > MAX_KEPT,
            f"left over: {', '.join(self.left_over)}": self.left_over,
            f"the daemon's log has {self.crashes} tracebacks": self.crashes,
        }
        return [sentence for sentence, broken in bounds.items() if broken]

    def lines(self) -> list[str]:
        """Return the figures as text."""
        seen, up = self.seen, self.upstream
        quarters = [self.quarter(number) for number in range(4)]
        gigabytes = seen["bytes"] / 1e9
        reasons = sorted(key for key in seen if key.startswith("status ") or key.endswith("Error"))
        faults = sorted(up.get("faults", {}).items(), key=lambda item: -item[1])
        rows = {
            "pulls": f"{seen['pulls']} in {self.seconds:.0f} s, {gigabytes:.2f} GB",
            "failed pulls": str(seen["failed pulls"]),
            "complete responses with wrong bytes": str(seen["wrong bytes"]),
            "requests that clients sent again": (
                f"{seen['retries']}: {seen['closed short']} closed short, "
                f"{seen['wrong bytes, closed short']} with wrong bytes and closed short, "
                f"{seen['wrong parts']} parts with wrong bytes"
                + "".join(f", {seen[reason]} {reason}" for reason in reasons)
            ),
            "upstream": (
                f"{up.get('requests', 0)} requests, {up.get('bytes', 0) / 1e9:.2f} GB, "
                f"{up.get('down', 0)} times a host was down"
            ),
            "upstream's faults": ", ".join(f"{count} {kind}" for kind, count in faults),
            "disk": f"full in {self.full} of {len(self.samples)} s, emptied {self.removed} times",
            "CPU": f"{self.cpu:.0f} s, {self.cpu / gigabytes if gigabytes else 0:.2f} s/GB",
            "memory, MiB": (
                f"{self.at_start.memory:.0f} at the start, then "
                f"{', '.join(f'{q.memory:.0f}' for q in quarters)} in each quarter, "
                f"{self.at_rest.memory:.0f} at rest"
            ),
            "open files": (
                f"{self.at_start.files} at the start, then "
                f"{', '.join(str(q.files) for q in quarters)} in each quarter, "
                f"{self.at_rest.files} at rest"
            ),
            "left over in transfers/": str(len(self.left_over)),
        }
        width = max(map(len, rows))
        return [f"{name:{width}}  {value}" for name, value in rows.items()]
