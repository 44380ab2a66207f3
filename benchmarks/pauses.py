"""Pauses: how long a request may wait while the daemon sweeps, reloads its upstreams, or is scraped."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from benchmarks.bench import Bench, Sample, Take
from benchmarks.clients import fetch, read_response, request
from benchmarks.contenders import MANIFEST, Daemon, Upstream
from benchmarks.objects import populate
from benchmarks.rounds import Rounds, now
from benchmarks.servers import Server

UPSTREAMS = 500
GAP = 0.002
"""Seconds between two probes."""
SWEEPING = 5.0
"""Seconds from one sweep to the next, in place of minutes."""
LONGEST = 60
"""Seconds in which upstreams are reloaded."""


class Probe:
    """Asks for something again and again, on one connection.

    *waited*: of each request the seconds until its answer.
    """

    def __init__(self, server: Server, path: str) -> None:
        self._address = server.address
        self._request = request(path)
        self._stop = Event()
        self.waited: list[float] = []

    def run(self) -> None:
        """Ask until the end."""
        buffer = memoryview(bytearray(65536))
        with socket.create_connection(self._address) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stop.is_set():
                began = time.perf_counter()
                connection.sendall(self._request)
                read_response(connection, buffer)
                self.waited.append(time.perf_counter() - began)
                time.sleep(GAP)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask in a thread for as long as the context lasts."""
        thread = Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def slowest(server: Server, rounds: Rounds, work: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of the slowest request while *work* was done, and CPU's of the longest round."""
    fetch(server.address, MANIFEST)
    probe = Probe(server, MANIFEST)
    with probe.running():
        time.sleep(0.3)
        probe.waited.clear()
        began = now()
        work()
        longest = rounds.longest(began)
    return max(probe.waited) * 1e3, longest


def upstream_file(port: int, number: int) -> str:
    """Return a file of upstreams; each *number* has the same ones with other settings."""
    text = f"- {{namespace: docker.io, host: 'localhost:{port}', tls: false}}\n"
    for each in range(UPSTREAMS - 1):
        text += f"- {{namespace: r{each}.example, host: m{each}.example, retries: {number}}}\n"
    return text


def _says(log: Path, words: str, before: int) -> bool:
    return words in log.read_text()[before:]


def _wait(log: Path, words: str, before: int) -> None:
    """Wait until the log says something, from a place on."""
    for _ in range(LONGEST * 100):
        if _says(log, words, before):
            return
        time.sleep(0.01)
    raise RuntimeError(f"the log does not say {words!r}")


def measure(bench: Bench, upstream: Upstream) -> None:
    """Measure the slowest of many requests for a stored manifest, meanwhile and at rest."""
    if not bench.plan.swept:
        bench.results.note("Pauses are left out of a quick run.")
        return
    daemons = [contender for contender in bench.contenders if isinstance(contender, Daemon)]

    def take(contender: Daemon) -> Sample:
        with bench.scratch() as folder:
            return Sample(*_with_upstreams(contender, folder, upstream))

    takes: dict[str, Take] = {daemon.name: lambda d=daemon: take(d) for daemon in daemons}  # type: ignore[misc]
    moments = (
        "at rest",
        f"while {UPSTREAMS} upstreams are reloaded",
        f"while the metrics of {UPSTREAMS} upstreams are read",
    )
    bench.rows("pauses", [kind for moment in moments for kind in _kinds(moment)], takes)
    with bench.scratch() as folder:
        populate(folder / "store", bench.plan.swept)

        def sweeping(contender: Daemon) -> Sample:
            return Sample(*_sweep(contender, folder, upstream))

        swept: dict[str, Take] = {daemon.name: lambda d=daemon: sweeping(d) for daemon in daemons}  # type: ignore[misc]
        bench.rows("pauses", _kinds(f"while {bench.plan.swept:,} objects are swept"), swept)


def _kinds(moment: str) -> list[tuple[str, str]]:
    return [(f"slowest hit {moment}", "ms"), (f"longest round {moment}", "CPU ms")]


def _with_upstreams(contender: Daemon, folder: Path, upstream: Upstream) -> list[float]:
    """Return the slowest hits at rest, while upstreams are reloaded, and while metrics are read."""
    file, log, rounds = folder / "upstreams.yaml", folder / "log", Rounds(folder / "rounds")
    with contender.caching(
        folder, upstream, upstream_file(upstream.port, 1), rounds.program
    ) as server:
        server.settle()

        def reload() -> None:
            for number in (2, 3):
                before = len(log.read_text())
                file.write_text(upstream_file(upstream.port, number))
                os.kill(server.process.pid, signal.SIGHUP)
                _wait(log, "reloaded the upstreams", before)
            time.sleep(0.2)

        def scrape() -> None:
            for _ in range(5):
                fetch(server.address, "/metrics")

        rest = slowest(server, rounds, lambda: time.sleep(1))
        return [*rest, *slowest(server, rounds, reload), *slowest(server, rounds, scrape)]


def _sweep(contender: Daemon, folder: Path, upstream: Upstream) -> tuple[float, float]:
    """Return the slowest hit while a sweep looks at all objects, twice."""
    rounds = Rounds(
        folder / "rounds",
        "from oci_registry.storage.drivers import filesystem\n"
        f"filesystem.FilesystemDriver.sweep_interval = {SWEEPING}\n",
    )
    with contender.caching(folder, upstream, program=rounds.program) as server:
        return slowest(server, rounds, lambda: time.sleep(3 * SWEEPING))
