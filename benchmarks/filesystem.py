"""Hits and misses from a directory: CPU per unit of work and memory, of the daemon and of distribution.

CPU seconds of the server process are what does not drift with the machine's load; the ratio to the
peer, measured in the same run, is what can be compared between machines.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.clients import fetch, fetch_together
from benchmarks.servers import PEER, Server, daemon, peer, printing

SIZE = 200 * 1024 * 1024
"""Bytes of the blob."""
HITS = 20_000
"""Manifest hits per measurement, over sixteen connections."""

Row = tuple[str, str, float]


def _cost(server: Server, work: Callable[[], int], per: float | None) -> float:
    """Return the server's CPU seconds for *work*, divided by *per* or else by the bytes it moved."""
    before = server.cpu()
    moved = work()
    time.sleep(0.3)
    return (server.cpu() - before) / (per or moved / 1e9)


def measure(server: Server, layer: str) -> list[Row]:
    """Return the rows of one server: what, unit, figure."""
    blob, manifest = f"/v2/library/big/blobs/{layer}", "/v2/library/big/manifests/1"
    address = server.address
    fetch(address, manifest)
    rows: list[Row] = [("resident memory, idle", "MiB", server.memory().rss)]

    def row(what: str, unit: str, work: Callable[[], int], per: float | None, scale: float) -> None:
        rows.append((what, unit, _cost(server, work, per) * scale))

    row("miss, stored and verified", "CPU s/GB", lambda: fetch(address, blob), None, 1)
    row("blob hit, 1 client", "CPU s/GB", lambda: fetch(address, blob, 5), None, 1)
    row("blob hit, 16 clients", "CPU s/GB", lambda: fetch_together(address, [blob] * 16), None, 1)
    each = HITS // 16
    row(
        "manifest hit, with access log",
        "CPU µs",
        lambda: fetch_together(address, [manifest] * 16, each),
        each * 16,
        1e6,
    )
    fetch_together(address, [blob] * 64)
    rows.append(("resident memory after 64 bulk streams", "MiB", server.memory().rss))
    return rows


def main() -> None:
    """Measure and print a table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        printing("benchmarks.upstream", str(SIZE)) as (port, layer),
    ):
        with daemon(Path(folder), int(port)) as server:
            ours = measure(server, layer)
        with peer(Path(folder), int(port)) as other:
            theirs = measure(other, layer) if other else []
    print(f"{'':40} {'unit':>10} {'ours':>8} {'peer':>8} {'ratio':>7}")
    for index, (what, unit, figure) in enumerate(ours):
        line = f"{what:40} {unit:>10} {figure:8.2f}"
        if theirs:
            line += f" {theirs[index][2]:8.2f} {figure / theirs[index][2]:7.2f}"
        print(line)
    if PEER is None:
        print("no peer: CNCF distribution (docker-registry) is not installed")
