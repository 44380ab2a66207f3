"""The daemon as a process of its own, to be killed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import TestCase

from tests.support.client import Client
from tests.support.daemon import reactor, until
from tests.support.fake_registry import FakeRegistry
from tests.support.folders import short_folder
from tests.support.forked import SOURCE, spawn

__all__ = ["SOURCE", "DaemonProcess", "ListeningProcess", "ProcessTestCase"]

# Ours, or Twisted's own where twistd has the log.
_LISTENING = re.compile(rb"(?:starting on |oci-registry \S+ on https?://\S+?:)(\d+)")


class ListeningProcess(ProcessProtocol):
    """A command with a daemon in it; `listening` fires with its port, `ended` when it is gone.

    ``environment`` is all that it gets; ``more`` is for ``spawnProcess``. ``forked`` is for tests that are
    neither about the start of a process nor about its memory or its name: see `tests.support.forked`.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        forked: bool = False,
        **more: Any,
    ) -> None:
        self.listening: Deferred[int] = Deferred()
        self.ended: Deferred[ListeningProcess] = Deferred()
        self.output = bytearray()
        self.signal: int | None = None
        self.status: int | None = None
        self.command = command
        start = spawn if forked else _spawn
        self.process = start(reactor, self, command, environment, **more)

    def outReceived(self, data: bytes) -> None:
        self.output += data
        found = _LISTENING.search(self.output)
        if found and not self.listening.called:
            self.listening.callback(int(found[1]))

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        self.signal = reason.value.signal
        self.status = reason.value.exitCode
        if not self.listening.called:
            self.listening.errback(RuntimeError(self.output.decode()))
        self.ended.callback(self)

    async def kill(self, name: str) -> None:
        """Send a signal and wait for the end."""
        self.process.signalProcess(name)
        await self.ended

    def cpu(self) -> float:
        """Return the seconds of the processor that the process has had."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text("ascii")
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, what: str = "VmRSS") -> int:
        """Return the bytes of memory that the process uses, or has used at most (`VmHWM`); see proc(5)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(status.partition(f"{what}:")[2].split()[0]) * 1024

    def end(self) -> Deferred[Any] | None:
        """Kill it, if it has not ended by itself; for tests that fail."""
        if self.ended.called:
            return None
        self.process.signalProcess("KILL")
        return self.ended


def _spawn(
    reactor: Any, protocol: Any, command: Sequence[str], environment: Mapping[str, str], **more: Any
) -> Any:
    return reactor.spawnProcess(protocol, command[0], command, env=environment, **more)


class DaemonProcess(ListeningProcess):
    """``python -m oci_registry`` on a free port.

    ``upstream`` is a host, or the whole upstream file. ``storage`` is what stands behind the options,
    if not a directory; ``environment`` is added to; ``command`` is everything.
    """

    def __init__(
        self,
        reactor: Any,
        root: Path,
        upstream: str,
        *options: str,
        storage: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        forked: bool = False,
    ) -> None:
        config = root.parent / f"{root.name}.yaml"
        if "\n" not in upstream:
            upstream = f'- {{namespace: docker.io, host: "{upstream}", tls: false}}\n'
        config.write_text(upstream)
        command = [sys.executable, "-m", "oci_registry", "--listen", "127.0.0.1:0"]
        command += ["--upstream-config-file", str(config), *options]
        command += storage or ["filesystem", "--root", str(root)]
        variables = {"PYTHONPATH": SOURCE, **(environment or {})}
        super().__init__(reactor, command, variables, forked=forked)


class ProcessTestCase(TestCase):
    """A fake upstream for docker.io, daemons in processes of their own with `root`, and clients of them."""

    timeout = 120
    forked = True

    def setUp(self) -> None:
        self.registry = FakeRegistry()
        self.registry.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.registry.stop()))
        self.folder = short_folder(self)
        self.root = self.folder / "root"

    def begin(self, *options: str) -> DaemonProcess:
        """Start a daemon, which is killed in the end if it has not ended by then."""
        host = self.registry.host
        daemon = DaemonProcess(reactor, self.root, host, *options, forked=self.forked)
        self.addCleanup(daemon.end)
        return daemon

    async def start(self, *options: str) -> tuple[DaemonProcess, Client]:
        """Start a daemon, wait until it serves, and return it with a client of it."""
        daemon = self.begin(*options)
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await until(lambda: b"storing in" in daemon.output)
        return daemon, client
