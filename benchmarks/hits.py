"""Hits: manifests, whole blobs, ranges of blobs, and manifests while blobs are streamed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from random import Random

from benchmarks import wrk
from benchmarks.bench import MIB, Bench, Sample, Take, costing
from benchmarks.clients import fetch, request
from benchmarks.contenders import MANIFEST, Upstream
from benchmarks.reader import Counts, loading
from benchmarks.servers import Server

RANGE = 64 * 1024
STREAMS = 64
STREAM_RATE = 5e6
"""Bytes a second of each stream, while the delay of manifests is measured.

As fast as they can, they would keep the processor of the load busy, and what asks for manifests would wait
for that.
"""
ATTEMPTS = 5

_Sampler = Callable[[Server], Sample]


def measure(bench: Bench, upstream: Upstream) -> None:
    """Fill all servers, and measure them while all of them run."""
    with ExitStack() as stack:
        servers = {
            contender.name: stack.enter_context(
                contender.serving(bench.folder(contender), upstream)
            )
            for contender in bench.contenders
        }
        for server in servers.values():
            fill(server, upstream)

        def row(what: str, unit: str, sampler: _Sampler) -> None:
            takes: dict[str, Take] = {
                name: partial(sampler, server) for name, server in servers.items()
            }
            bench.row("hits", what, unit, takes)

        _manifests(bench, upstream, row)
        _blobs(bench, upstream, row)


def fill(server: Server, upstream: Upstream) -> None:
    """Have everything of an upstream at hand, and read once."""
    for path in (MANIFEST, *upstream.blobs):
        fetch(server.address, path)
    server.settle()


def _manifests(bench: Bench, upstream: Upstream, row: Callable[[str, str, _Sampler], None]) -> None:
    digest = MANIFEST.rpartition("/")[0] + "/" + upstream.manifest()
    kinds = [
        (name, path, method, connections)
        for name, path in (("tag", MANIFEST), ("digest", digest))
        for method in ("GET", "HEAD")
        for connections in (8, 64)
    ]
    # A quick run has two, which differ in all three.
    chosen = kinds if bench.plan.every_row else [kinds[0], kinds[7]]
    for name, path, method, connections in chosen:
        what = f"manifest by {name}, {method}, {connections} connections"
        if method == "HEAD":
            # wrk waits for the body of a response to HEAD.
            row(what, "CPU µs", partial(_requests, bench, [request(path, "", method)], connections))
        elif wrk.PROGRAM:
            row(what, "CPU µs", partial(_wrk, bench, path, connections))
    if wrk.PROGRAM:
        what = f"manifest while {STREAMS} clients stream 5 MB/s each, p99"
        row(what, "ms", partial(_p99, bench, upstream.blobs[0]))


def _wrk(bench: Bench, path: str, connections: int, server: Server) -> Sample:
    seconds = bench.plan.seconds
    return costing(
        server, lambda: wrk.run(server.address, path, connections, seconds).responses, 1e6
    )


def _requests(
    bench: Bench, requests: list[bytes], clients: int, server: Server, scale: float = 1e6
) -> Sample:
    """Let clients send requests all the time, and count responses."""
    method = requests[0].split(b" ")[0].decode()
    with loading(server.address, requests, clients, method) as load:
        return _window(bench, server, load, lambda: load.responses, scale)


def _window(
    bench: Bench, server: Server, load: Counts, count: Callable[[], int], scale: float
) -> Sample:
    """Measure a while in the middle of the work, so that neither its beginning nor its end counts."""
    time.sleep(min(0.3, bench.plan.seconds / 4))

    def work() -> float:
        before = count()
        # On a machine that is busy with other things the first while may pass without any response.
        for _ in range(ATTEMPTS):
            time.sleep(bench.plan.seconds)
            if count() > before:
                break
        return count() - before

    return costing(server, work, scale, load.cpu)


def _p99(bench: Bench, blob: str, server: Server) -> Sample:
    with loading(server.address, [request(blob)], STREAMS, rate=STREAM_RATE):
        time.sleep(0.3)
        seconds = max(2 if bench.plan.every_row else 1, bench.plan.seconds)
        return Sample(wrk.run(server.address, MANIFEST, 8, seconds).p99)


def _blobs(bench: Bench, upstream: Upstream, row: Callable[[str, str, _Sampler], None]) -> None:
    large, small, *_ = upstream.blobs
    kinds = [
        (path, size, clients)
        for path, size in ((large, bench.plan.large), (small, bench.plan.small))
        for clients in (1, 16)
    ]
    for path, size, clients in kinds if bench.plan.every_row else kinds[3:]:
        plural = "s" if clients > 1 else ""
        what = f"blob of {size // MIB} MiB, {clients} client{plural}"
        row(what, "CPU s/GB", partial(_stream, bench, path, clients))
    starts = Random(RANGE).sample(range(0, bench.plan.large - RANGE, RANGE), 1000)
    ranges = [request(large, f"Range: bytes={start}-{start + RANGE - 1}\r\n") for start in starts]
    what = f"ranges of {RANGE // 1024} KiB of a blob, 8 connections"
    row(what, "CPU µs", partial(_requests, bench, ranges, 8))


def _stream(bench: Bench, path: str, clients: int, server: Server) -> Sample:
    with loading(server.address, [request(path)], clients) as load:
        return _window(bench, server, load, lambda: load.bytes, 1e9)
