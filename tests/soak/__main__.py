"""``python -m tests.soak [--minutes N] [--seed N] [--log FILE]``: see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react

from tests.soak.client import Puller
from tests.soak.figures import Figures, Sample, cpu_seconds
from tests.soak.images import Images
from tests.soak.volume import SIZE_MIB, leftovers, remove_objects, small_volume
from tests.support.client import Client
from tests.support.process import DaemonProcess

CLIENTS, HOSTS = 32, 4
WARM_UP = 30.0
"""Seconds until caches and threads have the memory that they keep; its growth is measured from then on."""
EMPTY_EVERY = 20.0
"""Seconds after which all that is stored is removed."""
REST = 5.0
"""Seconds after the last pull in which connections, files and memory are let go."""
_NEARLY = 0.9
_LOGS, _FAILURES = 20_000, 20
_UPSTREAM = """\
- namespace: docker.io
  hosts: [{hosts}]
  manifest_invalidation_time: 5s
  connect_timeout: 2s
  response_timeout: 4s
  body_timeout: 2s
  remember_not_found: 1s
"""


class Hosts:
    """The process of the hosts; *ports* are theirs."""

    def __init__(self, seed: int) -> None:
        command = [sys.executable, "-m", "tests.soak.upstream", str(seed), str(HOSTS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.ports = [int(port) for port in self._process.stdout.readline().split()]

    def end(self) -> None:
        """End it. Idempotent."""
        self._process.terminate()
        self._process.wait()


class Soak:
    """One run."""

    def __init__(
        self,
        reactor: Any,
        hosts: Hosts,
        seed: int,
        seconds: float,
        root: Path,
        options: Sequence[str],
    ) -> None:
        self._reactor = reactor
        self._hosts = hosts
        self._seed = seed
        self._seconds = seconds
        self._root = root
        self._options = options
        self.figures = Figures(Counter())
        self.failures: list[str] = []

    async def run(self) -> None:
        """Let the clients pull through the daemon, and watch it."""
        hosts = (f"{{host: '127.0.0.1:{port}', tls: false}}" for port in self._hosts.ports)
        daemon = DaemonProcess(
            self._reactor,
            self._root,
            _UPSTREAM.format(hosts=", ".join(hosts)),
            *self._options,
        )
        try:
            await self._pull(daemon, await daemon.listening)
        finally:
            await daemon.kill("TERM")
            self.figures.crashes = daemon.output.count(b"Traceback")
            self.output = daemon.output.decode("utf-8", "replace")

    async def _pull(self, daemon: DaemonProcess, port: int) -> None:
        figures, process = self.figures, daemon.process.pid
        # Modules that are imported by the first request are there at the start.
        await Client(self._reactor, port).get("/v2/")
        figures.at_start = Sample.of(process)
        images = Images(self._seed)
        print(
            f"{len(images.images)} images, {images.total / 1e6:.0f} MB, seed {self._seed}",
            flush=True,
        )
        began = self._reactor.seconds()
        watching = self._every(1.0, lambda: self._watch(process, began + WARM_UP))
        emptying = self._every(EMPTY_EVERY, self._empty)
        pullers = [
            Puller(self._reactor, port, images, Random(f"{self._seed}/{n}"), figures.seen)
            for n in range(CLIENTS)
        ]

        def going_on() -> bool:
            return bool(self._reactor.seconds() < began + WARM_UP + self._seconds)

        await gatherResults([Deferred.fromCoroutine(p.run(going_on)) for p in pullers])
        watching.stop()
        emptying.stop()
        figures.seconds = self._reactor.seconds() - began
        figures.cpu = cpu_seconds(process, os.sysconf("SC_CLK_TCK"))
        said = await Client(self._reactor, self._hosts.ports[0]).get("/figures")
        figures.upstream = json.loads(bytes(said.body))
        # Nor are connections kept to who is not there.
        self._hosts.end()
        await deferLater(self._reactor, REST)
        figures.at_rest = Sample.of(process)
        figures.left_over = leftovers(self._root)
        self.failures = [failure for puller in pullers for failure in puller.failures]

    def _every(self, seconds: float, act: Any) -> LoopingCall:
        call = LoopingCall(act)
        call.clock = self._reactor
        call.start(seconds, now=False).addErrback(lambda failure: failure.printTraceback())
        return call

    def _watch(self, process: int, warm: float) -> None:
        if self._reactor.seconds() >= warm:
            self.figures.samples.append(Sample.of(process))
        usage = shutil.disk_usage(self._root.parent)
        self.figures.full += usage.used >= _NEARLY * usage.total

    def _empty(self) -> None:
        self.figures.removed += 1
        remove_objects(self._root)


async def soak(
    reactor: Any, seed: int, seconds: float, log: Path | None, options: Sequence[str]
) -> None:
    """Run it and print what it has shown; exit with 1 if a bound is broken.

    The daemon's log goes to *log*, its end to the screen if something is wrong.
    """
    hosts = Hosts(seed)
    try:
        with tempfile.TemporaryDirectory(prefix="oci-registry-soak-") as work:
            place = Path(work) / "volume"
            with small_volume(place) as small:
                if not small:
                    print(f"the disk does not get full: a volume of {SIZE_MIB} MiB takes root")
                run = Soak(reactor, hosts, seed, seconds, place / "store", options)
                await run.run()
    finally:
        hosts.end()
    if log is not None:
        log.write_text(run.output)
    broken = run.figures.broken()
    if broken:
        print(run.output[-_LOGS:])
    for failure in run.failures[:_FAILURES]:
        print(failure)
    print("\n".join(run.figures.lines()))
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    if broken:
        raise SystemExit(1)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to write the daemon's log")
    parser.add_argument("--workers", default="1", help="worker processes of the daemon")
    parser.add_argument("--plain-http", action="store_true", help="as for the daemon")
    options = parser.parse_args()
    chosen = ["--workers", options.workers, *(["--plain-http"] if options.plain_http else [])]

    def begin(reactor: Any) -> Deferred[None]:
        seconds = options.minutes * 60
        return Deferred.fromCoroutine(soak(reactor, options.seed, seconds, options.log, chosen))

    react(begin)


if __name__ == "__main__":
    main()
