"""``python -m benchmarks [peers]``: the daemon beside nginx and distribution, as one table."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from benchmarks import hits, memories, misses, nginx, objects, pauses, report, wrk
from benchmarks.bench import MIB, QUICK, Bench, Plan
from benchmarks.contenders import (
    PROJECT,
    Contender,
    Daemon,
    Distribution,
    Upstream,
    build_distribution,
    distribution_version,
    upstream,
)
from benchmarks.processes import Cores, divide, pinned
from benchmarks.results import Results
from benchmarks.servers import PEER

GROUPS = ("hits", "memory", "objects", "pauses", "misses", "pulls")
BUILT = PROJECT / "build" / "benchmarks"
PAGE = PROJECT / "docs" / "explanation" / "performance.md"
RECORD = PROJECT / "benchmarks" / "results.json"
OURS = "oci-registry"


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the options of every run."""
    made = argparse.ArgumentParser(prog=prog)
    made.add_argument("--quick", action="store_true", help="fewer rows, less work; under 3 minutes")
    made.add_argument("--rounds", type=int, help="samples of each figure (default: 3)")
    made.add_argument("--only", choices=GROUPS, action="append", help="these rows alone")
    made.add_argument("--json", type=Path, help="where the samples go")
    return made


def plan(options: argparse.Namespace) -> Plan:
    """Return how much is done."""
    chosen = QUICK if options.quick else Plan()
    return evolve(chosen, rounds=options.rounds) if options.rounds else chosen


def about(tree: Path) -> str:
    """Return the commit of a tree, and whether files differ from it."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine(cores: Cores) -> dict[str, str]:
    """Return what a figure depends on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    servers, load = (",".join(map(str, sorted(group))) for group in (cores.servers, cores.load))
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": f"{len(models)} processors, {models[0] if models else 'of an unknown kind'}, "
        f"Linux {platform.release()}, Python {platform.python_version()}",
        "Processors": f"servers on {servers}; load and upstreams on {load}",
        "Load average before the run": " ".join(f"{part:.1f}" for part in os.getloadavg()),
    }


def contenders(cores: Cores, results: Results, quick: bool) -> list[Contender]:
    """Return the daemon and every peer that is installed; the results say which is not."""
    found: list[Contender] = [Daemon(OURS, cores)]
    if nginx.PROGRAM:
        found.append(nginx.Nginx("nginx", cores, nginx.PROGRAM))
    else:
        results.note("nginx is not installed: it is left out.")
    programs = [PEER]
    if not quick:
        print("building distribution 3, unless it is there", file=sys.stderr)
        programs.append(build_distribution(BUILT))
    for program, missing in zip(
        programs,
        (
            "Distribution (docker-registry) is not installed: it is left out.",
            "Distribution 3 could not be built with Go: it is left out.",
        ),
        strict=False,
    ):
        version = distribution_version(program) if program else None
        if program and version:
            found.append(Distribution(f"distribution {version}", cores, program))
        else:
            results.note(missing)
    if quick:
        results.note("Distribution 3 is left out of a quick run.")
    return found


def run(bench: Bench, only: Sequence[str]) -> bool:
    """Measure all rows, or those of some groups; return whether it came to its end.

    Control-C ends it early, and the rows that are complete remain.
    """
    chosen = bench.plan
    try:
        with upstream(bench.cores, [chosen.large, chosen.small, MIB]) as source:
            _groups(bench, source, only or GROUPS)
    except KeyboardInterrupt:
        bench.results.note("The run was stopped early.")
        return False
    return True


def _groups(bench: Bench, source: Upstream, only: Sequence[str]) -> None:
    if "hits" in only:
        if wrk.PROGRAM is None:
            bench.results.note("wrk is not installed: the rows that it measures are left out.")
        hits.measure(bench, source)
    if "memory" in only:
        memories.measure(bench, source)
    if "objects" in only:
        objects.measure(bench, source)
    if "pauses" in only:
        pauses.measure(bench, source)
    if "misses" in only:
        misses.measure(bench, source)
    if "pulls" in only:
        misses.measure_pulls(bench)


def allow_many_files() -> None:
    """Raise the limit of open files as far as it goes; the servers have the same."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table; keep the samples."""
    options_parser = parser("python -m benchmarks")
    options_parser.add_argument(
        "--record", action="store_true", help=f"write {PAGE.name}, and {RECORD.name} beside this"
    )
    options = options_parser.parse_args(arguments)
    allow_many_files()
    cores = divide(os.sched_getaffinity(0))
    results = Results([], {"Commit": about(PROJECT), **machine(cores)})
    found = contenders(cores, results, options.quick)
    results.servers = [contender.name for contender in found]
    with TemporaryDirectory(prefix="oci-registry-bench-") as folder, pinned(cores.load):
        bench = Bench(found, plan(options), results, cores, Path(folder))
        record = run(bench, options.only or ()) and options.record
    text = report.text(results)
    print(text)
    target = options.json or (RECORD if record else BUILT / "results.json")
    results.save(target)
    print(f"\nsamples: {target}")
    if record:
        PAGE.write_text(report.replace_section(PAGE.read_text(), text))
