"""What a full garbage collection traverses in a daemon with 500 upstreams, and how long it takes.

    python -m benchmarks.collected [--tags 2000] [--reloads 3] [--connections 200] [--kinds 12]

A signal makes the daemon count its objects and collect garbage: *hot* several times in a row, *cold* each
time after the processor's caches have been filled with something else. Milliseconds are CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks.clients import fetch, read_response, request
from benchmarks.pauses import upstream_file
from benchmarks.servers import Server, free_port, printing, running

LONGEST = 60
"""Seconds until the daemon has answered a signal."""
_PROGRAM = """
import gc, json, os, signal, time
from collections import Counter

def collect(cold):
    if cold:
        other = bytearray(64 << 20)
        for place in range(0, len(other), 64):
            other[place] = 1
    began = time.thread_time()
    gc.collect()
    return (time.thread_time() - began) * 1e3

def count(*_):
    gc.collect()
    found = Counter(f"{{type(one).__module__}}.{{type(one).__qualname__}}" for one in gc.get_objects())
    times = [sorted(collect(cold) for _ in range(5))[2] for cold in (False, True)]
    with open({file!r} + ".new", "w") as file:
        json.dump([found, *times, gc.get_stats()[2]["collections"]], file)
    os.rename({file!r} + ".new", {file!r})

signal.signal(signal.SIGUSR2, count)
from oci_registry.__main__ import main
main()
"""


@frozen
class Traversed:
    """The objects that a full collection traverses, by type; its CPU ms, hot and cold; how many there were."""

    objects: Counter[str]
    hot: float
    cold: float
    collections: int

    def since(self, before: Traversed, kinds: int) -> list[str]:
        """Return a line of figures, and one for each of the *kinds* that have changed most since *before*."""
        total = sum(self.objects.values())
        head = f"{total:7,} objects, {self.hot:5.2f} ms hot, {self.cold:5.2f} ms cold"
        changes = Counter(self.objects)
        changes.subtract(before.objects)
        most = sorted(changes.items(), key=lambda one: (-abs(one[1]), one[0]))[:kinds]
        return [head, *(f"  {change:+7,} {kind}" for kind, change in most if change)]


@frozen
class Running:
    """A daemon with its files in *folder*, whose docker.io is at the port *upstream*."""

    server: Server
    folder: Path
    upstream: int

    def traversed(self) -> Traversed:
        """Let it count its objects."""
        file = self.folder / "traversed"
        file.unlink(missing_ok=True)
        os.kill(self.server.process.pid, signal.SIGUSR2)
        _wait(file.exists)
        found, hot, cold, collections = json.loads(file.read_text())
        return Traversed(Counter(found), hot, cold, collections)

    def pull(self, tags: int) -> None:
        """Pull so many manifests, each for the first time and once more."""
        buffer = memoryview(bytearray(65536))
        with socket.create_connection(self.server.address) as connection:
            for number in range(2 * tags):
                connection.sendall(request(f"/v2/library/app{number // 2}/manifests/1"))
                read_response(connection, buffer)

    def reload(self, number: int) -> None:
        """Give its upstreams other settings."""
        log = self.folder / "log"
        before = len(log.read_text())
        (self.folder / "upstreams.yaml").write_text(upstream_file(self.upstream, number))
        os.kill(self.server.process.pid, signal.SIGHUP)
        _wait(lambda: "reloaded the upstreams" in log.read_text()[before:])
        time.sleep(0.2)

    @contextmanager
    def connections(self, count: int) -> Iterator[None]:
        """Keep so many connections open that have had a response."""
        buffer = memoryview(bytearray(65536))
        with ExitStack() as stack:
            for _ in range(count):
                connection = stack.enter_context(socket.create_connection(self.server.address))
                connection.sendall(request("/v2/library/app0/manifests/1"))
                read_response(connection, buffer)
            yield


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(LONGEST * 100):
        if condition():
            return
        time.sleep(0.01)
    raise RuntimeError("the daemon does not answer")


@contextmanager
def daemon(folder: Path) -> Iterator[Running]:
    """Run a daemon with 500 upstreams."""
    with printing("benchmarks.upstream", "1000") as (upstream, *_):
        port = free_port()
        (folder / "upstreams.yaml").write_text(upstream_file(int(upstream), 1))
        command = [sys.executable, "-c", _PROGRAM.format(file=str(folder / "traversed"))]
        command += ["--listen", f"127.0.0.1:{port}"]
        command += ["--upstream-config-file", str(folder / "upstreams.yaml")]
        command += ["filesystem", "--root", str(folder / "store")]
        with running("oci-registry", command, port, log=folder / "log") as server:
            yield Running(server, folder, int(upstream))


def main() -> None:
    """Measure, and print the figures of each moment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collected")
    parser.add_argument("--tags", type=int, default=2000, help="tags that are pulled")
    parser.add_argument("--reloads", type=int, default=3, help="reloads with other settings")
    parser.add_argument("--connections", type=int, default=200, help="idle connections")
    parser.add_argument("--kinds", type=int, default=12, help="types that are printed each time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, daemon(Path(name)) as measured:
        before = Traversed(Counter(), 0.0, 0.0, 0)

        def show(moment: str) -> None:
            nonlocal before
            found = measured.traversed()
            print(f"{moment}:", *found.since(before, options.kinds), sep="\n", flush=True)
            before = found

        show("after the start")
        measured.pull(options.tags)
        fetch(measured.server.address, "/metrics")
        show(f"after {options.tags:,} tags")
        for number in range(options.reloads):
            measured.reload(number + 2)
            show(f"after reload {number + 1}")
        with measured.connections(options.connections):
            show(f"with {options.connections:,} idle connections")


if __name__ == "__main__":
    main()
