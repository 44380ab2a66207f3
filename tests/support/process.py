"""The daemon as a process of its own, to be killed."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

_LISTENING = re.compile(rb"starting on (\d+)")


class DaemonProcess(ProcessProtocol):
    """``python -m oci_registry`` on a free port; `listening` fires with it, `ended` when it is gone.

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
    ) -> None:
        self.listening: Deferred[int] = Deferred()
        self.ended: Deferred[DaemonProcess] = Deferred()
        self.output = bytearray()
        self.signal: int | None = None
        config = root.parent / f"{root.name}.yaml"
        if "\n" not in upstream:
            upstream = f'- {{namespace: docker.io, host: "{upstream}", tls: false}}\n'
        config.write_text(upstream)
        command = [sys.executable, "-m", "oci_registry", "--listen", "127.0.0.1:0"]
        command += ["--upstream-config-file", str(config), *options]
        command += storage or ["filesystem", "--root", str(root)]
        self.command = command
        variables = {"PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})}
        self.process = reactor.spawnProcess(self, sys.executable, command, env=variables)

    def outReceived(self, data: bytes) -> None:
        self.output += data
        found = _LISTENING.search(self.output)
        if found and not self.listening.called:
            self.listening.callback(int(found[1]))

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        self.signal = reason.value.signal
        if not self.listening.called:
            self.listening.errback(RuntimeError(self.output.decode()))
        self.ended.callback(self)

    async def kill(self, name: str) -> None:
        """Send a signal and wait for the end."""
        self.process.signalProcess(name)
        await self.ended
