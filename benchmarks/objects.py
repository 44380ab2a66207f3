"""A store with very many objects: whether the start and hits cost what they cost with a few."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

from benchmarks import wrk
from benchmarks.bench import Bench, Sample, Take, costing
from benchmarks.clients import fetch
from benchmarks.contenders import MANIFEST, Daemon, Upstream
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key

LINKS = 50_000
"""Names for one file; ext4 allows 65,000."""


def populate(root: Path, count: int) -> None:
    """Put *count* blobs of one byte into a store; many names are the same file."""
    source = root
    for number in range(count):
        encoded = hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
        path = root / blob_key(Digest.parse(f"sha256:{encoded}"))
        if number < 10_000:
            path.parent.mkdir(parents=True, exist_ok=True)
        if number % LINKS == 0:
            source = path
            source.write_bytes(b"0")
        else:
            os.link(source, path)


def measure(bench: Bench, upstream: Upstream) -> None:
    """Start daemons with a few and with many objects in the store, and ask each for a manifest."""
    count = bench.plan.objects
    if not count:
        bench.results.note("Very many objects in the store are left out of a quick run.")
        return
    daemons = [contender for contender in bench.contenders if isinstance(contender, Daemon)]
    with bench.scratch() as few, bench.scratch() as many:
        populate(many / "store", count)

        def figures(contender: Daemon, folder: Path) -> list[float]:
            with contender.caching(folder, upstream) as server:
                fetch(server.address, MANIFEST)
                # What the daemon does in the background at first is no part of a hit.
                server.settle()
                rest = server.cpu()
                if wrk.PROGRAM is None:
                    return [server.start, rest]
                hit = costing(
                    server,
                    lambda: wrk.run(server.address, MANIFEST, 8, bench.plan.seconds).responses,
                    1e6,
                )
                return [server.start, rest, *hit.figures]

        def take(contender: Daemon) -> Sample:
            base, found = figures(contender, few), figures(contender, many)
            return Sample(*found, *(b / a for a, b in zip(base, found, strict=True)))

        takes: dict[str, Take] = {daemon.name: partial(take, daemon) for daemon in daemons}
        stored = f"{count:,} objects stored"
        kinds = [
            (f"from exec to the first response, {stored}", "s"),
            (f"from exec until at rest, {stored}", "CPU s"),
        ]
        if wrk.PROGRAM:
            kinds.append((f"manifest by tag, GET, 8 connections, {stored}", "CPU µs"))
        multiples = [(what, "multiple of an empty store") for what, _ in kinds]
        bench.rows("objects", [*kinds, *multiples], takes)
