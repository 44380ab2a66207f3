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

    def memory(self) -> float:
        """Return its resident memory in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


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
def daemon(work: Path, upstream: int) -> Iterator[Server]:
    """Run the daemon with an empty directory, docker.io being the upstream on that port."""
    port = _free_port()
    config = work / "upstreams.yaml"
    config.write_text(f"- namespace: docker.io\n  host: 127.0.0.1:{upstream}\n  tls: false\n")
    command = [sys.executable, "-m", "oci_registry", "--listen", f"127.0.0.1:{port}"]
    command += ["--upstream-config-file", str(config)]
    command += ["filesystem", "--root", str(work / "cache")]
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
