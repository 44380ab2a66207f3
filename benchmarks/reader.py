"""The load generator: a small program in C, compiled when it is first needed, or else Python."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from attrs import frozen

from benchmarks import processes
from benchmarks.load import BadResponse, Load, running

SOURCE = Path(__file__).with_name("load.c")
BUILT = Path(__file__).parent.parent / "build" / "benchmarks"


class Counts(Protocol):
    """What a load generator has done so far."""

    @property
    def bytes(self) -> int:
        """Bytes of responses."""

    @property
    def responses(self) -> int:
        """Complete responses."""

    def wait(self, seconds: float) -> bool:
        """Wait until all clients have reached their limit; return whether they have in time."""

    def cpu(self) -> float:
        """Return the CPU seconds of its own process so far; 0 if it is a thread of this one."""


@cache
def program() -> Path | None:
    """Return the compiled program, None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    built = BUILT / f"load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"
    if not built.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        # Another process may be compiling it too: it appears as a whole.
        unfinished = built.with_name(f"{built.name}.{os.getpid()}")
        try:
            subprocess.run([compiler, "-O2", "-o", unfinished, SOURCE], check=True)
        except subprocess.CalledProcessError:
            return None
        unfinished.replace(built)
    return built


@frozen
class _Process:
    """The counters of the program, in memory that both see."""

    process: subprocess.Popen[bytes]
    memory: mmap.mmap
    clients: int

    def _counter(self, number: int) -> int:
        return int.from_bytes(self.memory[8 * number : 8 * number + 8], "little")

    @property
    def bytes(self) -> int:
        """Bytes of responses."""
        return self._counter(0)

    @property
    def responses(self) -> int:
        """Complete responses."""
        return self._counter(1)

    def wait(self, seconds: float) -> bool:
        """Wait until all clients have reached their limit."""
        return _until(lambda: self._counter(2) >= self.clients or self.ended, seconds)

    @property
    def ended(self) -> bool:
        """Whether it has given up."""
        return self.process.poll() is not None

    def cpu(self) -> float:
        """Return the CPU seconds of the program."""
        return processes.cpu(self.process.pid)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def loading(
    address: tuple[str, int],
    requests: Sequence[bytes],
    clients: int,
    method: str = "GET",
    *,
    limit: int | None = None,
    rate: float = 0,
) -> Iterator[Counts]:
    """Let clients send requests for as long as the context lasts, each as soon as it has its response.

    *requests* are complete heads of requests with *method*; each client begins at another one. With
    *limit* a client reads so many bytes of its first body, and then nothing more. *rate*: bytes a second
    that each reads at most. BadResponse at the end, if there was one.
    """
    compiled = program()
    if compiled is None:
        with running(Load(address, requests, clients, method, limit, rate)) as thread:
            yield thread
        return
    with tempfile.TemporaryFile() as heads, tempfile.NamedTemporaryFile() as counters:
        heads.write(b"".join(requests))
        heads.seek(0)
        counters.write(bytes(24))
        counters.flush()
        numbers = (*address, clients, method, limit or 0, rate)
        words = [str(compiled), *map(str, numbers), counters.name]
        process = subprocess.Popen(words, stdin=heads, stderr=subprocess.PIPE)
        assert process.stderr is not None
        with mmap.mmap(counters.fileno(), 24) as memory, process.stderr:
            load = _Process(process, memory, clients)
            failed = False
            try:
                yield load
            finally:
                failed = load.ended
                process.kill()
                said = process.stderr.read().decode(errors="replace").strip()
                process.wait()
                if failed:
                    # Also instead of what followed from it, such as that nothing was received.
                    raise BadResponse(said or "the load generator has ended")
