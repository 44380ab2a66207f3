"""The servers that are measured, each a process of its own on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

_TICK = os.sysconf("SC_CLK_TCK")
PEER = shutil.which("docker-registry") or shutil.which("registry")
"""CNCF distribution, if it is installed (Debian's package is docker-registry)."""


_IDLE = 0.015
"""CPU seconds in less than half a second that are none."""


def _memory(process: int, line: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


def peak_memory(process: int) -> float:
    """Return the most resident memory that a process has had so far, in MiB."""
    return _memory(process, "VmHWM")


@frozen
class Server:
    """A running server."""

    name: str
    process: subprocess.Popen[bytes]
    address: tuple[str, int]

    def cpu(self) -> float:
        """Return the CPU seconds it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def settle(self) -> None:
        """Wait until it has nothing more to do, as after the last byte of a miss."""
        used = -1.0
        while self.cpu() - used > _IDLE:
            used = self.cpu()
            time.sleep(0.4)

    def memory(self) -> float:
        """Return its resident memory in MiB."""
        return _memory(self.process.pid, "VmRSS")

    def peak(self) -> float:
        """Return the most that this has been since the start, in MiB."""
        return peak_memory(self.process.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")


@contextmanager
def running(name: str, command: list[str], port: int) -> Iterator[Server]:
    """Run a server for as long as the context lasts."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        _wait(process, port)
        yield Server(name, process, ("127.0.0.1", port))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def printing(*command: str) -> Iterator[list[str]]:
    """Run a module as a process for as long as the context lasts; give the words of its first line."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def daemon(work: Path, upstream: int, *storage: str) -> Iterator[Server]:
    """Run the daemon, docker.io being the upstream on that port.

    *storage*: the name of a storage and its options; if there is none, a directory below *work*.
    """
    port = _free_port()
    config = work / "upstreams.yaml"
    config.write_text(f"- namespace: docker.io\n  host: 127.0.0.1:{upstream}\n  tls: false\n")
    command = [sys.executable, "-m", "oci_registry", "--listen", f"127.0.0.1:{port}"]
    command += ["--upstream-config-file", str(config)]
    command += storage or ("filesystem", "--root", str(work / "cache"))
    with running("oci-registry", command, port) as server:
        yield server


@contextmanager
def peer(work: Path, upstream: int) -> Iterator[Server | None]:
    """Run distribution as a pull-through cache of the same upstream; None if it is not there."""
    if PEER is None:
        yield None
        return
    port = _free_port()
    config = work / "distribution.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: info, accesslog: {disabled: false}}\n"
        f"storage: {{filesystem: {{rootdirectory: {work / 'distribution'}}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}", secret: benchmark}}\n'
        f"proxy: {{remoteurl: 'http://127.0.0.1:{upstream}'}}\n"
    )
    with running("distribution", [PEER, "serve", str(config)], port) as server:
        yield server
