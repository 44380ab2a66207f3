"""Starts the forking process and its workers, replaces it when it ends, and stops all of them."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.spec.errors import system_reason
from oci_registry.streams.waiters import Waiters
from oci_registry.workers.forking import CONTROL
from oci_registry.workers.link import Shared, WorkerLink
from oci_registry.workers.messages import Message, pack
from oci_registry.workers.options import WorkerOptions
from oci_registry.workers.packets import Packets, close_all, socket_pair
from oci_registry.workers.restarts import Restarts

_HARMLESS = re.compile("PATH|HOME|LANG|TZ|(?:LC|LD|PYTHON|MALLOC)_?[A-Z_]+")
_PROGRAM = "oci_registry.workers.forking"
STOP_TIMEOUT = 2.0
"""Seconds after the grace period within which workers must end."""


class WorkerProcesses:
    """The workers of a daemon.

    *ports*: returns the ports whose connections workers accept. While there is no worker, the core
    accepts connections itself.
    """

    _log = Logger()

    def __init__(
        self,
        count: int,
        options: WorkerOptions,
        shared: Shared,
        ports: Callable[[], Sequence[Any]],
        reactor: Any,
    ) -> None:
        self._count = count
        self._options = options
        self._shared = shared
        self._find_ports = ports
        self._metrics = shared.metrics
        self._reactor = reactor
        self._ports: Sequence[Any] = ()
        self._links: set[WorkerLink] = set()
        self._ready: set[WorkerLink] = set()
        self._control: Packets | None = None
        self._restarts = Restarts()
        self._began = 0.0
        self._again: IDelayedCall | None = None
        self._stopping = False
        self._grace = 0.0
        self._gone: Waiters[None] = Waiters()

    def start(self) -> None:
        """Start the forking process, if there is a port to share."""
        self._ports = self._find_ports()
        if self._ports:
            self._launch()

    def _launch(self) -> None:
        self._again = None
        self._began = self._reactor.seconds()
        try:
            ours, theirs = socket_pair()
        except OSError as error:
            self._ended(system_reason(error))
            return
        self._control = Packets(ours, self._reactor, self._told, self._control_lost)
        try:
            self._spawn(theirs.fileno())
        except OSError as error:
            self._ended(system_reason(error))
        finally:
            theirs.close()

    def _spawn(self, control: int) -> None:
        options = {
            "workers": self._count,
            "listening": len(self._ports),
            "worker": asdict(self._options),
        }
        command = [sys.executable, "-P", "-m", _PROGRAM, json.dumps(options)]
        descriptors = {0: 0, 1: 1, 2: 2, CONTROL: control}
        for index, port in enumerate(self._ports):
            descriptors[CONTROL + 1 + index] = port.fileno()
        # Other environment variables of the daemon may be secrets.
        variables = {name: os.environ[name] for name in os.environ if _HARMLESS.fullmatch(name)}
        # The daemon's module path may have been changed.
        variables["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        self._reactor.spawnProcess(
            _ForkingProtocol(self._ended),
            command[0],
            command,
            env=variables,
            childFDs=descriptors,
        )

    def _told(self, message: Message, descriptors: Sequence[int]) -> None:
        fields = message.fields
        match message.kind, descriptors:
            case "forked", [descriptor]:
                number, connection = int(fields["worker"]), socket.socket(fileno=descriptor)
                link = WorkerLink(number, connection, self._shared, self, self._reactor)
                self._links.add(link)
                if self._stopping:
                    # It was being started when the others were told to close.
                    link.close_clients(self._grace)
            case "forked", []:
                # The kernel has dropped the descriptor, so the worker ends, and is started again later.
                self._log.warn(
                    "cannot connect to worker {worker}: too many open files",
                    worker=fields["worker"],
                )
            case "ended", []:
                if not self._stopping:
                    self._replaced(fields)
            case _:
                close_all(descriptors)
                raise ValueError(f"an unknown message: {message.kind}")

    def _replaced(self, fields: Mapping[str, Any]) -> None:
        self._metrics.worker_restarts.inc()
        wait = float(fields["wait"])
        self._log.error(
            "worker {worker}{process} {how}; it is started again {when}",
            worker=fields["worker"],
            process=f" (process {fields['pid']})" if fields["pid"] else "",
            how=fields["how"],
            when=f"in {wait:.1f} s" if wait else "at once",
        )

    def connection_count(self) -> int:
        """Return how many connections the workers have themselves."""
        return sum(link.connections for link in self._links)

    def cut(self) -> None:
        """Have all workers end what must not be sent any more."""
        for link in list(self._links):
            link.cut()

    def recall(self) -> None:
        """Have all workers ask for the answers that they have been lent again."""
        for link in list(self._links):
            link.recall()

    def ready(self, link: WorkerLink) -> None:
        """Leave new connections to the workers."""
        self._ready.add(link)
        self._count_ready()
        if len(self._ready) == self._count and not self._stopping:
            self._log.info("{count} workers accept connections", count=self._count)
        if not self._stopping:
            for port in self._ports:
                port.stopReading()

    def lost(self, link: WorkerLink) -> None:
        """Accept connections in the core if that was the last worker."""
        link.close()
        self._links.discard(link)
        self._ready.discard(link)
        self._count_ready()
        if self._ready or self._stopping:
            self._fire_if_gone()
            return
        for port in self._ports:
            port.startReading()

    def place_for(self, link: WorkerLink) -> WorkerLink | None:
        """Return the worker for a connection: the one that it came from, unless another has fewer."""
        if not self._ready:
            return None
        fewest = min(self._ready, key=_load)
        if link in self._ready and link.load <= fewest.load + 1:
            return link
        return fewest

    def _count_ready(self) -> None:
        self._metrics.workers.set(len(self._ready))

    def _control_lost(self) -> None:
        """The end of the process is detected elsewhere."""

    def _ended(self, how: str) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        self._fire_if_gone()
        if self._stopping:
            return
        wait = self._restarts.ended(self._reactor.seconds() - self._began)
        self._log.error(
            "the forking process of the workers ended ({how}); it is started again {when}",
            how=how,
            when=f"in {wait:.1f} s" if wait else "at once",
        )
        self._again = self._reactor.callLater(wait, self._launch)

    def _fire_if_gone(self) -> None:
        if self._control is None and not self._links:
            self._gone.fire(None)

    def close(self, grace: float) -> Deferred[None]:
        """Make all workers close their connections and end; kill them some time after *grace* seconds."""
        return Deferred.fromCoroutine(self._close(grace))

    async def _close(self, grace: float) -> None:
        self._stopping, self._grace = True, grace
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._control is None and not self._links:
            return
        gone: Deferred[None] = self._gone.wait()
        if self._control is not None:
            self._control.send(pack("stop"))
        for link in list(self._links):
            link.close_clients(grace)
        try:
            await gone.addTimeout(grace + STOP_TIMEOUT, self._reactor)
        except DeferredTimeout:
            self._log.warn("{count} workers did not end and were killed", count=len(self._links))
            await self._kill()

    async def _kill(self) -> None:
        if self._control is None:
            return
        gone: Deferred[None] = self._gone.wait()
        # The forking process kills its workers, and ends.
        self._control.close()
        for link in list(self._links):
            self.lost(link)
        try:
            await gone.addTimeout(STOP_TIMEOUT, self._reactor)
        except DeferredTimeout:
            self._log.error("the forking process of the workers does not end")


def _load(link: WorkerLink) -> int:
    return link.load


class _ForkingProtocol(ProcessProtocol):
    """Reports the end of the forking process."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:
        """The process has ended."""
        value: Any = reason.value
        signal = getattr(value, "signal", None)
        status = getattr(value, "exitCode", None)
        self._ended(f"signal {signal}" if signal else f"status {status}")
