"""``python -m benchmarks compare OLD NEW``: two results, or two source trees side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import peers, results
from benchmarks.bench import Bench
from benchmarks.contenders import Daemon
from benchmarks.processes import divide, pinned
from benchmarks.report import figure, layout, load_sentence, ratios, spread
from benchmarks.results import Results

NOISE = 0.03
"""Differences below this part are none, however steady the samples."""
ENOUGH = 3
"""Samples of each without which there is no verdict."""


def verdict(old: Sequence[float], new: Sequence[float]) -> str:
    """Return "better" or "worse" if all new samples are below or above all old ones, or else nothing."""
    close = abs(median(new) - median(old)) <= NOISE * abs(median(old))
    if close or min(len(old), len(new)) < ENOUGH:
        return ""
    if max(new) < min(old):
        return "better"
    return "worse" if min(new) > max(old) else ""


def _against(first: str, other: str, row: results.Row | None) -> str:
    if row is None:
        return ""
    found = ratios(row.samples.get(first, []), row.samples.get(other, []))
    return figure(median(found)) if found else ""


def compare(old: Results, new: Results) -> str:
    """Return a table of what both have measured of their first server, and their ratios to the second."""
    first, other = new.servers[0], new.servers[1] if len(new.servers) > 1 else ""
    before = {(row.what, row.unit): row for row in old.rows}

    def lines() -> Iterator[list[str]]:
        for row in new.rows:
            known = before.get((row.what, row.unit))
            was = known.samples.get(old.servers[0]) if known else None
            now = row.samples.get(first)
            if known is None or not was or not now:
                continue
            change = figure(median(now) / median(was)) if median(was) else ""
            line = [f"{row.what} ({row.unit})", spread(was), spread(now), change, verdict(was, now)]
            if other:
                line += [_against(old.servers[0], other, known), _against(first, other, row)]
            yield line

    head = ["", "old", "new", "new / old", ""]
    if other:
        head += [f"old / {other}", f"new / {other}"]
    found = list(lines())
    return layout(head, found) if found else "The two have no row in common."


def side_by_side(measured: Results) -> str:
    """Return a table of two trees that have been measured in one run, the old one first."""
    old, new = measured.servers
    rows = []
    for row in measured.rows:
        was, now = row.samples.get(old), row.samples.get(new)
        if was and now:
            found = ratios(now, was)
            change = spread(found) if found else ""
            name = f"{row.what} ({row.unit})"
            rows.append([name, spread(was), spread(now), change, verdict(was, now)])
    return layout(["", "old", "new", "new / old", ""], rows) if rows else "There are no figures."


def main(arguments: Sequence[str]) -> None:
    """Print how NEW differs from OLD."""
    parser = peers.parser("python -m benchmarks compare")
    parser.add_argument("old", type=Path, help="a file with results, or a source tree")
    parser.add_argument("new", type=Path, help="another one")
    options = parser.parse_args(arguments)
    pair = (options.old.resolve(), options.new.resolve())
    if all(path.is_dir() for path in pair):
        cores = divide(os.sched_getaffinity(0))
        peers.allow_many_files()
        trees = {"old": pair[0], "new": pair[1]}
        commits = {f"Commit, {name}": peers.about(tree) for name, tree in trees.items()}
        measured = Results(list(trees), {**commits, **peers.machine(cores)})
        daemons = [Daemon(name, cores, tree) for name, tree in trees.items()]
        with TemporaryDirectory(prefix="oci-registry-bench-") as folder, pinned(cores.load):
            bench = Bench(daemons, peers.plan(options), measured, cores, Path(folder))
            peers.run(bench, options.only or ())
        print(side_by_side(measured))
        for note in [*measured.notes, load_sentence(measured)]:
            print(f"\n{note}")
        if options.json:
            measured.save(options.json)
        return
    if any(path.is_dir() for path in pair):
        parser.error("OLD and NEW are two files with results, or two source trees")
    try:
        old, new = map(results.load, pair)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(compare(old, new))
