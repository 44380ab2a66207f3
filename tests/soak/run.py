"""One run of the soak: the hosts, the daemon, its clients, and what is looked at meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from tests.soak.capped import Capped, Place
from tests.soak.client import Puller
from tests.soak.figures import Figures, Sample, cpu_seconds
from tests.soak.images import Images
from tests.soak.log import errors_in
from tests.soak.volume import leftovers, remove_objects
from tests.support.client import Client
from tests.support.daemon import until
from tests.support.process import DaemonProcess

CLIENTS, CAPPED_CLIENTS, HOSTS = 32, 10, 4
WARM_UP = 30.0
"""Seconds until caches and threads have the memory that they keep; its growth is measured from then on."""
EMPTY_EVERY = 20.0
"""Seconds after which all that is stored is removed, if nothing limits the store."""
REST = 5.0
"""Seconds after the last pull in which connections, files and memory are let go."""
_NEARLY = 0.9
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
    """One run; *share*: the limit of the store, as a part of what all images take, if it has one."""

    def __init__(
        self,
        reactor: Any,
        hosts: Hosts,
        seed: int,
        seconds: float,
        root: Path,
        options: Sequence[str],
        workers: int = 1,
        share: float | None = None,
    ) -> None:
        self._reactor = reactor
        self._hosts = hosts
        self._seed = seed
        self._seconds = seconds
        self._root = root
        self._options = ["--workers", str(workers), *options]
        self._workers = workers
        self._images = Images(seed)
        self._cap = None if share is None else int(share * self._images.total)
        self._capped: Capped | None = None
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
            *(() if self._cap is None else ("--max-size", f"{self._cap}B")),
        )
        try:
            await self._pull(daemon, await daemon.listening)
        finally:
            await daemon.kill("TERM")
            self.figures.crashes = daemon.output.count(b"Traceback")
            self.output = daemon.output.decode("utf-8", "replace")
            if self._capped is not None:
                self._capped.figures.errors = errors_in(self.output)

    async def _pull(self, daemon: DaemonProcess, port: int) -> None:
        figures, process = self.figures, daemon.process.pid
        # Modules that are imported by the first request are there at the start.
        await Client(self._reactor, port).get("/v2/")
        if self._workers > 1:
            # Their files count too.
            await until(lambda: b" accept connections" in daemon.output)
        figures.at_start = Sample.of(process)
        images = self._images
        print(
            f"{len(images.images)} images, {images.total / 1e6:.0f} MB, seed {self._seed}",
            flush=True,
        )
        began = self._reactor.seconds()
        watching = self._every(1.0, lambda: self._watch(process, began + WARM_UP))
        emptying, pullers = self._begin(port)

        def going_on() -> bool:
            return bool(self._reactor.seconds() < began + WARM_UP + self._seconds)

        await gatherResults([Deferred.fromCoroutine(p.run(going_on)) for p in pullers])
        watching.stop()
        if emptying is not None:
            emptying.stop()
        figures.seconds = self._reactor.seconds() - began
        figures.cpu = cpu_seconds(process, os.sysconf("SC_CLK_TCK"))
        said = await Client(self._reactor, self._hosts.ports[0]).get("/figures")
        figures.upstream = json.loads(bytes(said.body))
        if self._capped is not None:
            await self._capped.settle()
        # Nor are connections kept to who is not there.
        self._hosts.end()
        if self._capped is not None:
            await self._capped.afterwards()
        await deferLater(self._reactor, REST)
        figures.at_rest = Sample.of(process)
        figures.left_over = leftovers(self._root)
        self.failures = [failure for puller in pullers for failure in puller.failures]
        if self._capped is not None:
            self.failures += self._capped.failures()

    def _begin(self, port: int) -> tuple[LoopingCall | None, list[Puller]]:
        """Begin what happens to the store besides; return that, if it is to be stopped, and the clients."""
        seen = self.figures.seen
        if self._cap is None:
            numbers = [Random(f"{self._seed}/{number}") for number in range(CLIENTS)]
            pullers = [Puller(self._reactor, port, self._images, n, seen) for n in numbers]
            return self._every(EMPTY_EVERY, self._empty), pullers
        # More of them would have more in use at a time than there is room for.
        place = Place(self._reactor, port, self._root, self._seed)
        self._capped = Capped(place, self._images, self._cap, seen)
        self._capped.begin()
        return None, [self._capped.puller(number) for number in range(CAPPED_CLIENTS)]

    def capped_lines(self) -> list[str]:
        """Return the figures of a limited store."""
        return [] if self._capped is None else self._capped.figures.lines()

    def broken(self) -> list[str]:
        """Return a sentence for each bound that does not hold."""
        broken = self.figures.broken()
        if self._capped is not None:
            broken += self._capped.figures.broken()
            self.failures += self._capped.figures.details()
        return broken

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
