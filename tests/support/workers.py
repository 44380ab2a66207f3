"""A daemon with worker processes, and what the system knows of them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.support.client import Client
from tests.support.daemon import reactor, until
from tests.support.process import DaemonProcess, ProcessTestCase
from tests.support.raw import TIMES, RawConnection, connect

WORKERS = 2


def children(pid: int) -> list[int]:
    """Return the processes that descend from a process, without those that have ended."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z":
                found.setdefault(int(parent), []).append(int(folder.name))
    direct = found.get(pid, [])
    return direct + [each for child in direct for each in children(child)]


def exists(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class WorkersTestCase(ProcessTestCase):
    """Daemons with two workers; `number` is the port of the last one."""

    number = 0

    async def serve(self, *options: str, workers: int = WORKERS) -> tuple[DaemonProcess, Client]:
        """Start a daemon, and wait until all its workers accept connections."""
        daemon, client = await self.start("--workers", str(workers), *options)
        if workers > 1:
            await until(lambda: b"workers accept connections" in daemon.output)
        self.number = await self.port(daemon)
        return daemon, client

    async def port(self, daemon: DaemonProcess) -> int:
        """Return the port that a daemon has said that it listens on."""
        found = re.search(rb" on https?://\S+?:(\d+)", bytes(daemon.output))
        assert found is not None
        return int(found[1])

    def workers(self, daemon: DaemonProcess) -> dict[int, int]:
        """Return the process of each worker."""
        found = {}
        for pid in children(daemon.process.pid):
            name = Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0")
            match = re.fullmatch(rb"oci-registry: worker (\d+)", name)
            if match:
                found[int(match[1])] = pid
        return found

    async def connect(self, place: int | str | None = None) -> RawConnection:
        """Connect to the last daemon."""
        connection = await connect(reactor, self.number if place is None else place)
        # Workers are asked several times.
        connection.times = TIMES
        self.addCleanup(connection.leave)
        return connection

    async def connect_many(self, count: int) -> list[RawConnection]:
        """Open connections that have had one response each."""
        opened = [await self.connect() for _ in range(count)]
        for connection in opened:
            connection.ask("/healthz")
        for connection in opened:
            await connection.until_body(13)
        return opened

    def kill(self, pid: int) -> None:
        """Kill a process at once."""
        os.kill(pid, signal.SIGKILL)
