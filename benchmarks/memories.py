"""Memory and start: of a server at rest, and what streams, slow clients and idle clients add."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from attrs import frozen

from benchmarks.bench import MIB, Bench, Sample, Take
from benchmarks.clients import fetch, request
from benchmarks.contenders import MANIFEST, Contender, Daemon, Upstream
from benchmarks.hits import STREAMS
from benchmarks.processes import Memory
from benchmarks.reader import loading
from benchmarks.servers import Server

SLOW = 200
READ = MIB
"""Bytes that a slow client reads."""
PATIENCE = 20
"""Seconds until all of them must have that."""
WORKERS = "--workers"
FOUR = 4
KINDS = ("RSS", "PSS", "private dirty")

_Measure = Callable[[Server], Memory]


@frozen
class _Kind:
    """What takes memory, and how it is measured and told."""

    what: str
    unit: str
    added: _Measure
    scale: float = 1


def measure(bench: Bench, upstream: Upstream) -> None:
    """Measure servers that have everything stored; each sample has a process of its own."""
    blob, base = request(upstream.blobs[0]), request("/v2/")
    connections = bench.plan.idle_connections

    def rows(*kinds: _Kind, start: str = "") -> None:
        """Measure one kind after the other, all with the same process."""

        def take(contender: Contender) -> Sample:
            with contender.serving(bench.folder(contender), upstream) as server:
                server.settle()
                figures = [server.start, server.start_cpu] if start else []
                for kind in kinds:
                    found = kind.added(server)
                    each = (found.rss, found.pss, found.private_dirty)
                    figures += [value * kind.scale for value in each]
                return Sample(*figures)

        takes: dict[str, Take] = {c.name: partial(take, c) for c in bench.contenders}
        named = [(start, "s"), (start, "CPU s")] if start else []
        named += [(f"{each.what}, {kind}", each.unit) for each in kinds for kind in KINDS]
        bench.rows("memory", named, takes)

    def streaming(server: Server) -> Memory:
        before = server.memory()
        with loading(server.address, [blob], STREAMS):
            time.sleep(bench.plan.seconds)
            return server.memory() - before

    def waiting(requested: bytes, clients: int, server: Server) -> Memory:
        before = server.memory()
        with loading(server.address, [requested], clients, limit=READ) as load:
            if not load.wait(PATIENCE):
                bench.results.note(
                    f"{server.name}: after {PATIENCE} s some of {clients} clients had not received"
                    f" {READ // MIB} MiB."
                )
            server.settle()
            return server.memory() - before

    starting = "from exec to the first response"
    resting = _Kind("idle", "MiB", Server.memory)
    slow = _Kind(f"{SLOW} slow downloads add", "MiB", partial(waiting, blob, SLOW))
    if bench.plan.every_row:
        rows(resting, start=starting)
        rows(slow)
        rows(_Kind(f"{STREAMS} streams add", "MiB", streaming))
        idle = partial(waiting, base, connections)
        what = f"each of {connections} idle connections adds"
        rows(_Kind(what, "KiB", idle, 1024 / connections))
    else:
        # Half as many starts.
        rows(resting, slow, start=starting)
    _with_workers(bench, upstream)


def _with_workers(bench: Bench, upstream: Upstream) -> None:
    """Measure daemons with worker processes, shared pages counted once, after each has had requests."""
    daemons = [each for each in bench.contenders if isinstance(each, Daemon) and each.has(WORKERS)]
    if not daemons:
        return

    def take(daemon: Daemon) -> Sample:
        with daemon.caching(bench.folder(daemon), upstream, options=(WORKERS, str(FOUR))) as server:
            fetch(server.address, MANIFEST)
            for _ in range(bench.plan.worker_requests * FOUR):
                # Each on a connection of its own, so that every worker gets some.
                fetch(server.address, MANIFEST)
            server.settle()
            return Sample(server.memory().pss)

    takes: dict[str, Take] = {daemon.name: partial(take, daemon) for daemon in daemons}
    bench.row("memory", f"core and {FOUR} workers together, PSS", "MiB", takes)
