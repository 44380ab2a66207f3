"""Rounds of the reactor: how long the longest takes, in CPU time of the process, and what it did.

A request waits for the end of a round at most. While a thread of the daemon holds the interpreter in a round,
that counts too; other processes on the machine do not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

LEAST = 0.001
"""CPU seconds of a round that is written down."""
_PROGRAM = """
import gc, os, sys, threading, time
from twisted.internet import epollreactor

real, log = epollreactor.epoll, open({file!r}, "w", buffering=1)
delays = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
collected = [0.0, 0.0]

def collecting(phase, info):
    now = time.thread_time()
    collected[0] += now - collected[1] if phase == "stop" else 0.0
    collected[1] = now

def state():
    delayed = int(os.pread(delays, 99, 0).split()[1]) / 1e9
    used, own = time.process_time(), time.thread_time()
    return used, own, time.monotonic() - delayed, collected[0]

class Timed:
    def __init__(self, *arguments):
        self.real, self.began, self.count = real(*arguments), state(), 0
    def __getattr__(self, name):
        return getattr(self.real, name)
    def poll(self, timeout, *arguments):
        self.count += 1
        ended = state()
        used, own, waited, collected = (b - a for a, b in zip(self.began, ended))
        # What the kernel kept it waiting for a processor is not the daemon's time.
        used = min(used, waited)
        if used >= {least!r}:
            log.write(f"{{time.monotonic()}} {{self.count}} {{used}} {{own}} {{collected}}\\n")
        try:
            return self.real.poll(timeout, *arguments)
        finally:
            # Without a timeout it only waits for the interpreter.
            self.began = state() if timeout else ended

gc.callbacks.append(collecting)
epollreactor.epoll = Timed
{before}
from oci_registry.__main__ import main
main()
"""


@frozen
class Round:
    """A round that *ended* then (`now`), the *number*th one.

    It took *used* CPU seconds; the reactor itself *own* ones. *collecting*: those of the garbage collector.
    """

    ended: float
    number: int
    used: float
    own: float
    collecting: float


@frozen
class Spread:
    """The rounds of a while in milliseconds: the longest, one in a thousand, and how many took over 10 ms."""

    longest: float
    rare: float
    long: int
    rounds: int
    cause: str

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Spread:
        """Return the spread of the rounds that were written down."""
        if not rounds:
            return cls(0.0, 0.0, 0, 0, "")
        # Those in between, which were not written down, are shorter than all of these.
        count = rounds[-1].number - rounds[0].number + 1
        ordered = sorted(rounds, key=lambda one: -one.used)
        first, at = ordered[0], count // 1000
        rare = ordered[at].used if at < len(ordered) else LEAST
        cause = f"reactor {first.own * 1e3:.1f}, garbage {first.collecting * 1e3:.1f}"
        long = sum(1 for one in rounds if one.used > 0.01)
        return cls(first.used * 1e3, rare * 1e3, long, count, cause)


class Rounds:
    """The long rounds of a daemon that runs *program*; *file*: where they are written down."""

    def __init__(self, file: Path, before: str = "") -> None:
        self._file = file
        code = _PROGRAM.format(file=str(file), least=LEAST, before=before)
        self.program: Sequence[str] = ("-c", code)
        """Arguments of Python. *before*: what is executed before the daemon starts."""

    def since(self, since: float) -> list[Round]:
        """Return the rounds of at least `LEAST` that ended after *since*."""
        rounds = []
        for line in self._file.read_text().splitlines():
            ended, number, used, own, collecting = line.split()
            if float(ended) >= since:
                times = float(used), float(own), float(collecting)
                rounds.append(Round(float(ended), int(number), *times))
        return rounds

    def longest(self, since: float) -> float:
        """Return the CPU milliseconds of the longest round that ended after *since*."""
        return Spread.of(self.since(since)).longest


def now() -> float:
    """Return the time that `Rounds` goes by."""
    return time.monotonic()
