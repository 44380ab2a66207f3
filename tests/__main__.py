"""
``python -m tests NAME...``: run tests in several processes, whole modules at a time.

trial's own ``--jobs`` imports every module in every process, sends each line of the log and each result to
the first process as a message, which is read byte by byte, and has it answered: a fifth of what all tests
take.  Here libraries are imported once, before the processes are forked; a module of tests is imported
where it runs; one message says how all its tests went.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import faulthandler
import gc
import importlib.util
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from itertools import zip_longest
from multiprocessing import get_context, util
from pathlib import Path

from attrs import Factory, define
from twisted.logger import (
    FileLogObserver,
    LogEvent,
    formatEventAsClassicLogText,
    globalLogBeginner,
)
from twisted.python.filepath import FilePath
from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader, TrialSuite
from twisted.trial.util import _unusedTestDirectory

from oci_registry.workers.reports import resident_memory

_SHARED = (
    "oci_registry.service",
    "oci_registry.admin_pages",
    "hypothesis.strategies",
    "moto.s3.models",
    "moto.server",
    "boto3",
    "treq",
    "cryptography.x509",
)
"""What most tests import; none of it may import the reactor, which no two processes can share."""

_PR_SET_PDEATHSIG = 1
_MUCH = 200 * 1024 * 1024
"""Bytes of memory by which a process may grow before it looks for garbage everywhere."""


@define
class Outcome:
    """How the tests of a module went: *wrong* has a text for each that did not succeed.

    *cpu*: seconds of this process, and of those whose end it has seen.
    """

    name: str
    ran: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    successes: int = 0
    wrong: list[str] = Factory(list)
    skipped: list[str] = Factory(list)
    expected_failures: int = 0


def modules(name: str) -> Iterator[str]:
    """Return the modules of tests in a package; any other name as it is."""
    parts = name.split(".")
    folders: Sequence[str] | None = None
    # Only packages are imported: a module of tests may import the reactor.
    for length in range(1, len(parts) + 1):
        spec = importlib.util.find_spec(".".join(parts[:length]))
        folders = None if spec is None else spec.submodule_search_locations
        if folders is None:
            # A module, something in it, or nothing at all: trial finds out.
            yield name
            return
    for found in pkgutil.iter_modules(folders):
        inner = f"{name}.{found.name}"
        if found.ispkg:
            yield from modules(inner)
        elif found.name.startswith("test_"):
            yield inner


def in_turns(packages: Iterable[Iterable[str]]) -> list[str]:
    """Return each name once: by turns from each of *packages*, of which some wait and others calculate."""
    turns = zip_longest(*packages)
    return list(dict.fromkeys(name for turn in turns for name in turn if name is not None))


def run(name: str) -> Outcome:
    """Run the tests of this name in this process."""
    began, cpu_before = time.monotonic(), sum(os.times()[:4])
    result = TestResult()
    TrialSuite([TestLoader().loadByName(name, recurse=True)]).run(result)
    outcome = Outcome(name, result.testsRun, successes=result.successes)
    for kind, found in (("ERROR", result.errors), ("FAIL", result.failures)):
        for test, failure in found:
            text = failure if isinstance(failure, str) else failure.getTraceback()
            outcome.wrong.append(f"[{kind}]\n{text}\n{test.id()}")
    for test, todo in result.unexpectedSuccesses:
        outcome.wrong.append(f"[SUCCESS!?!]\n{todo}\n{test.id()}")
    outcome.skipped = [f"{test.id()}: {reason}" for test, reason in result.skips]
    outcome.expected_failures = len(result.expectedFailures)
    outcome.seconds = time.monotonic() - began
    outcome.cpu = sum(os.times()[:4]) - cpu_before
    del result
    _memory.tidy()
    return outcome


class _Memory:
    """Frees what daemons of tests keep: a daemon freezes all that is there, garbage of tests included."""

    def __init__(self) -> None:
        self._after = 0

    def tidy(self) -> None:
        """Look for garbage in everything if there is much more memory in use than the last time."""
        if (resident_memory() or 0) > self._after + _MUCH:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._after = resident_memory() or 0


_memory = _Memory()


def _line(event: LogEvent) -> str | None:
    """Return what the log says of an event."""
    return formatEventAsClassicLogText(event, formatTime=lambda when: _time_of(int(when or 0)))


@lru_cache(1)
def _time_of(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def _begin(folder: str) -> None:
    """Make a process that was forked one that runs tests, in a folder of its own."""
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    os.chdir(own)
    if sys.platform == "linux":
        # It would wait for work forever if the first process was killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    observer = FileLogObserver((own / "test.log").open("w"), _line)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    # What tests have left to be done at the end of the process is done only so.
    util.Finalize(None, atexit._run_exitfuncs, exitpriority=0)
    faulthandler.enable()


def _outcomes(pool: ProcessPoolExecutor, names: Sequence[str]) -> Iterator[Outcome]:
    """Run all; a process that dies ends everything, and is an error of what may have run in it."""
    waiting: dict[Future[Outcome], str] = {pool.submit(run, name): name for name in names}
    for future in as_completed(waiting):
        name = waiting.pop(future)
        try:
            yield future.result()
        except BrokenProcessPool as error:
            yield Outcome(name, wrong=[f"[ERROR]\n{error}\n{name}: not run to its end"])
        except Exception as error:
            yield Outcome(name, wrong=[f"[ERROR]\n{error!r}\n{name}"])


def report(outcomes: Iterable[Outcome], show: Callable[[str], object]) -> bool:
    """Show how everything goes; return whether all is well."""
    began, line = time.monotonic(), "=" * 79
    done: list[Outcome] = []
    for outcome in outcomes:
        done.append(outcome)
        notes = [f"{len(outcome.wrong)} failed"] * bool(outcome.wrong)
        notes += [f"{len(outcome.skipped)} skipped"] * bool(outcome.skipped)
        taken = f"{outcome.seconds:6.2f} s, CPU {outcome.cpu:5.2f} s"
        show("  ".join((f"{taken}, {outcome.ran:3} tests: {outcome.name}", *notes)))
        for text in outcome.wrong:
            show(f"{line}\n{text}")
    wrong = [text for outcome in done for text in outcome.wrong]
    skipped = [text for outcome in done for text in outcome.skipped]
    if wrong:
        # What went wrong with them was shown when it did.
        show("\n".join((line, "[FAILED]", *(text.rpartition("\n")[2] for text in wrong))))
    if skipped:
        show("\n".join((line, "[SKIPPED]", *skipped)))
    ran = sum(outcome.ran for outcome in done)
    show(f"{'-' * 79}\nRan {ran} tests in {time.monotonic() - began:.3f}s\n")
    counts = {
        "skips": len(skipped),
        "expectedFailures": sum(outcome.expected_failures for outcome in done),
        "failures": len(wrong),
        "successes": sum(outcome.successes for outcome in done),
    }
    counted = ", ".join(f"{what}={count}" for what, count in counts.items() if count)
    well = bool(ran) and not wrong
    show(f"{'PASSED' if well else 'FAILED'} ({counted})")
    return well


def main(arguments: Sequence[str], shared: Iterable[str] = _SHARED) -> int:
    """Run what *arguments* name; return the exit status.

    *shared*: the modules that are imported before the processes are forked.
    """
    parser = argparse.ArgumentParser(prog="python -m tests", description="Run tests in processes.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="any name that trial understands")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count(), help="how many processes")
    parser.add_argument(
        "--temp-directory", default="_trial_temp", help="where tests have their files and logs"
    )
    options = parser.parse_args(arguments)
    names = in_turns([modules(name) for name in options.names])
    for module in shared:
        importlib.import_module(module)
    assert "twisted.internet.reactor" not in sys.modules, "no two processes can share a reactor"
    # Processes of tests are started in other folders.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    folder, lock = _unusedTestDirectory(FilePath(options.temp_directory))
    # What is there before the fork stays: it need be neither looked at for garbage nor copied.
    gc.freeze()
    pool = ProcessPoolExecutor(options.jobs, get_context("fork"), _begin, (folder.path,))
    try:
        with pool:
            return 0 if report(_outcomes(pool, names), partial(print, flush=True)) else 1
    finally:
        lock.unlock()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
