"""Rounds of the reactor: how long the longest takes, in CPU time of the process.

A request waits for the end of a round at most. While a thread of the daemon holds the interpreter in a round,
that counts too; other processes on the machine do not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

LEAST = 0.001
"""CPU seconds of a round that is written down."""
_PROGRAM = """
import os, sys, time
from twisted.internet import epollreactor

real, log = epollreactor.epoll, open({file!r}, "w", buffering=1)

class Timed:
    def __init__(self, *arguments):
        self.real, self.began = real(*arguments), time.process_time()
    def __getattr__(self, name):
        return getattr(self.real, name)
    def poll(self, timeout, *arguments):
        ended = time.process_time()
        if ended - self.began >= {least!r}:
            log.write(f"{{time.monotonic()}} {{ended - self.began}}\\n")
        try:
            return self.real.poll(timeout, *arguments)
        finally:
            # Without a timeout it only waits for the interpreter.
            self.began = time.process_time() if timeout else ended

epollreactor.epoll = Timed
{before}
from oci_registry.__main__ import main
main()
"""


class Rounds:
    """The long rounds of a daemon that runs *program*; *file*: where they are written down."""

    def __init__(self, file: Path, before: str = "") -> None:
        self._file = file
        code = _PROGRAM.format(file=str(file), least=LEAST, before=before)
        self.program: Sequence[str] = ("-c", code)
        """Arguments of Python. *before*: what is executed before the daemon starts."""

    def longest(self, since: float) -> float:
        """Return the CPU milliseconds of the longest round that ended after *since* (`time.monotonic`)."""
        longest = 0.0
        for line in self._file.read_text().splitlines():
            ended, used = map(float, line.split())
            if ended >= since:
                longest = max(longest, used)
        return longest * 1e3


def now() -> float:
    """Return the time that `Rounds.longest` goes by."""
    return time.monotonic()
