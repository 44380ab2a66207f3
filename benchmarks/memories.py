"""Memory and start: of a server at rest, and what streams, slow clients and idle clients add."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.bench import MIB, Bench, Sample, Take
from benchmarks.clients import request
from benchmarks.contenders import Contender, Upstream
from benchmarks.hits import STREAMS
from benchmarks.load import Load, loading
from benchmarks.processes import Memory
from benchmarks.servers import Server

SLOW = 200
READ = MIB
"""Bytes that a slow client reads."""
PATIENCE = 20
"""Seconds until all of them must have that."""
KINDS = ("RSS", "PSS", "private dirty")

_Measure = Callable[[Server], Memory]


def measure(bench: Bench, upstream: Upstream) -> None:
    """Measure servers that have everything stored; each sample has a process of its own."""
    blob, base = request(upstream.blobs[0]), request("/v2/")
    connections = bench.plan.idle_connections

    def rows(what: str, unit: str, added: _Measure, scale: float = 1, *more: str) -> None:
        def take(contender: Contender) -> Sample:
            with contender.serving(bench.folder(contender), upstream) as server:
                server.settle()
                found = added(server)
                figures = [found.rss * scale, found.pss * scale, found.private_dirty * scale]
                return Sample(*figures, *([server.start] if more else []))

        takes: dict[str, Take] = {c.name: partial(take, c) for c in bench.contenders}
        kinds = [(f"{what}, {kind}", unit) for kind in KINDS]
        bench.rows("memory", [*kinds, *((name, "s") for name in more)], takes)

    def streaming(server: Server) -> Memory:
        before = server.memory()
        with loading(Load(server.address, [blob], STREAMS)):
            time.sleep(bench.plan.seconds)
            return server.memory() - before

    def waiting(requested: bytes, clients: int, server: Server) -> Memory:
        before = server.memory()
        with loading(Load(server.address, [requested], clients, limit=READ)) as load:
            if not load.satisfied.wait(PATIENCE):
                bench.results.note(
                    f"{server.name}: after {PATIENCE} s some of {clients} clients had not received"
                    f" {READ // MIB} MiB."
                )
            server.settle()
            return server.memory() - before

    rows("idle", "MiB", Server.memory, 1, "from exec to the first response")
    rows(f"{STREAMS} streams add", "MiB", streaming)
    rows(f"{SLOW} slow downloads add", "MiB", partial(waiting, blob, SLOW))
    idle = partial(waiting, base, connections)
    rows(f"each of {connections} idle connections adds", "KiB", idle, 1024 / connections)
