"""How the soak looks after its daemon: by the admin API, and now and then by a command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from oci_registry.admin.local import NAME
from tests.support.admin import LocalClient
from tests.support.process import SOURCE

PATIENCE = 90.0
"""Seconds until the API must have answered."""


@frozen
class Ended:
    """A command that has ended with a *status*, and what it has printed."""

    status: int
    output: str


class _Command(ProcessProtocol):
    """Collects the output of a command, and fires when it has ended."""

    def __init__(self) -> None:
        self.ended: Deferred[Ended] = Deferred()
        self._output = bytearray()

    def outReceived(self, data: bytes) -> None:
        self._output += data

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        status = reason.value.exitCode
        self.ended.callback(
            Ended(-1 if status is None else status, self._output.decode("utf-8", "replace"))
        )


class Admin:
    """The admin API of the daemon on the store *root*, and the commands."""

    def __init__(self, reactor: Any, root: Path) -> None:
        self._reactor = reactor
        self._root = root
        self._client = LocalClient(root / NAME)

    async def call(self, method: str, path: str, **values: Any) -> tuple[int, Any]:
        """Send a request, and return status and JSON of its answer."""
        raw, lines = b"", "Host: admin\r\nContent-Length: 0\r\n"
        if method == "POST" and values:
            raw = json.dumps(values).encode()
            lines = (
                f"Host: admin\r\nContent-Length: {len(raw)}\r\nContent-Type: application/json\r\n"
            )
        elif values:
            path = f"{path}?{urlencode(values)}"
        head = f"{method} /api/v1{path} HTTP/1.1\r\n{lines}\r\n"
        response = await self._client.send(head.encode() + raw, method)
        try:
            await response.done.addTimeout(PATIENCE, self._reactor)
        finally:
            self._client.responses.remove(response)
            response.close()
        return response.status, json.loads(response.body) if response.body else None

    async def command(self, *words: str) -> Ended:
        """Run ``oci-registry`` with some words, to its end."""
        command = _Command()
        variables = {"PYTHONPATH": SOURCE, "PATH": os.environ.get("PATH", "")}
        line = [sys.executable, "-m", "oci_registry", *words]
        self._reactor.spawnProcess(command, line[0], line, env=variables)
        return await command.ended

    async def on_store(self, name: str, *words: str) -> Ended:
        """Run a command on the store."""
        return await self.command(name, *words, "--root", str(self._root))
