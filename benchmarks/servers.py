"""The servers that are measured, each a process of its own on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from attrs import frozen

from benchmarks import processes
from benchmarks.clients import fetch
from benchmarks.processes import Memory, pinned

PEER = shutil.which("docker-registry") or shutil.which("registry")
"""CNCF distribution, if it is installed (Debian's package is docker-registry)."""


_IDLE = 0.004
"""CPU seconds in a quarter of a second that are none."""
STARTING = 60.0
"""Seconds that a server may take to start, on a machine that is busy with something else."""


def peak_memory(process: int) -> float:
    """Return the most resident memory that a process has had so far, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@frozen
class Server:
    """A running server."""

    name: str
    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    start: float = 0.0
    """Seconds from its start to the first response."""
    start_cpu: float = 0.0
    """CPU seconds of the same; they depend less on what else the machine does."""

    def cpu(self) -> float:
        """Return the CPU seconds that it and its descendants have used so far."""
        return processes.cpu(self.process.pid)

    def settle(self) -> None:
        """Wait until it has nothing more to do, as after the last byte of a miss."""
        used = -1.0
        while self.cpu() - used > _IDLE:
            used = self.cpu()
            time.sleep(0.25)

    def memory(self) -> Memory:
        """Return the memory of it and its descendants."""
        return processes.memory(self.process.pid)

    def peak(self) -> float:
        """Return the most resident memory since the start, in MiB; of the first process alone."""
        return peak_memory(self.process.pid)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait for the first response to the base request."""
    until = time.monotonic() + STARTING
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended")
        try:
            fetch(("127.0.0.1", port), "/v2/")
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer")


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    cores: Set[int] | None = None,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[Server]:
    """Run a server for as long as the context lasts.

    *cores*: the processors that it may use. *log*: takes its output. *environment*: further variables.
    """
    with ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        began = time.monotonic()
        with pinned(cores) if cores else nullcontext():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                cwd=directory,
            )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        _wait(process, port)
        took, used = time.monotonic() - began, processes.cpu(process.pid)
        yield Server(name, process, ("127.0.0.1", port), took, used)


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
    port = free_port()
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
    port = free_port()
    config = work / "distribution.yml"
    config.write_text(
        distribution_config(work / "distribution", port, f"http://127.0.0.1:{upstream}")
    )
    with running("distribution", [PEER, "serve", str(config)], port) as server:
        yield server


def distribution_config(root: Path, port: int, upstream: str) -> str:
    """Return the configuration of distribution as a pull-through cache, with an access log."""
    return (
        "version: 0.1\n"
        "log: {level: info, accesslog: {disabled: false}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}", secret: benchmark}}\n'
        f"proxy: {{remoteurl: '{upstream}'}}\n"
    )
