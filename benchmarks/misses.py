"""Misses: one download for one client, over TLS, for eight clients; and a cold pull of an image."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from benchmarks.bench import MIB, Bench, Sample, Take, costing
from benchmarks.clients import fetch, fetch_together
from benchmarks.contenders import MANIFEST, Contender, Upstream, upstream

LAYERS = 12
TOGETHER = 3
"""Layers that containerd downloads at a time."""
DELAY = 0.02
RATE = 40e6
CLIENTS = 8


def measure(bench: Bench, plain: Upstream) -> None:
    """Measure downloads of one large blob; each sample has a new server with an empty store."""
    size = f"{bench.plan.large // MIB} MiB"
    _misses(bench, f"miss of {size}, stored and verified", plain, 1)
    if bench.plan.every_row:
        with (
            bench.scratch() as folder,
            upstream(bench.cores, [bench.plan.large, MIB], "--tls", str(folder)) as encrypted,
        ):
            _misses(bench, f"the same, TLS from upstream ({size})", encrypted, 1)
    _misses(bench, f"{CLIENTS} cold clients of one blob of {size}", plain, CLIENTS)


def _misses(bench: Bench, what: str, source: Upstream, clients: int) -> None:
    def take(contender: Contender) -> Sample:
        with bench.scratch() as folder, contender.caching(folder, source) as server:
            fetch(server.address, MANIFEST)
            fetch(server.address, source.blobs[-1])
            server.settle()
            before = source.gets(source.digests[0])

            def work() -> float:
                fetch_together(server.address, source.blobs[:1] * clients)
                server.settle()
                return bench.plan.large / 1e9

            cost = costing(server, work).figures
            return Sample(*cost, source.gets(source.digests[0]) - before)

    takes: dict[str, Take] = {c.name: partial(take, c) for c in bench.contenders}
    kinds = [(what, "CPU s/GB of the blob"), (f"{what}: upstream GETs", "number")]
    bench.rows("misses", kinds, takes)


def pull(address: tuple[str, int], paths: Sequence[str]) -> float:
    """Return the seconds that a client needs for an image."""
    began = monotonic()
    fetch(address, MANIFEST)
    with ThreadPoolExecutor(TOGETHER) as pool:
        for _ in pool.map(partial(fetch, address), paths):
            pass
    return monotonic() - began


def measure_pulls(bench: Bench) -> None:
    """Measure how long clients wait for an image that comes from far away."""
    sizes = [bench.plan.layer] * LAYERS + [MIB]
    options = ["--delay", str(DELAY), "--rate", str(RATE)]
    with upstream(bench.cores, sizes, *options) as far:
        layers = far.blobs[:LAYERS]

        def take(contender: Contender) -> Sample:
            direct = pull(("127.0.0.1", far.port), layers)
            with bench.scratch() as folder, contender.caching(folder, far) as server:
                fetch(server.address, far.blobs[-1])
                took = pull(server.address, layers)
                return Sample(took, took / direct)

        takes: dict[str, Take] = {c.name: partial(take, c) for c in bench.contenders}
        what = f"cold pull of {LAYERS} layers of {bench.plan.layer // MIB} MiB, client's time"
        bench.rows("pulls", [(what, "s"), (what, "multiple of a pull without a cache")], takes)
