"""The processes of an end-to-end run: registries, a token server, containerd, the daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.certificates import write_pair
from tests.e2e.token_server import ISSUER, PASSWORD, USER
from tests.support.ports import free_port

#: What ``htpasswd -Bbn`` makes of the user and the password.
HTPASSWD = f"{USER}:$2y$05$kAkYECqt2YjT2FigmL6u0OtXvQBoRu6GS8ZbL4ger5ARS/jqKLa6G"


class Processes:
    """Processes that are all ended in the end; their output is kept below *work*."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        """Return where a process's output is."""
        return self.work / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the end of a process's output."""
        log = self.log(name)
        return log.read_text(errors="replace")[-4000:] if log.exists() else "(nothing)"

    def start(self, name: str, *command: str, port: int | None = None, seconds: int = 30) -> None:
        """Start a process and wait until it listens on *port*, so many *seconds* at most."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if port is not None:
            self._wait(name, port, seconds)

    def _wait(self, name: str, port: int, seconds: int) -> None:
        for _ in range(seconds * 10):
            if self._running[name].poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"{name} does not listen:\n{self.tail(name)}")

    def stop(self, name: str) -> int | None:
        """End a process with SIGTERM, at last with SIGKILL; return its exit status."""
        process = self._running.pop(name, None)
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def kill(self, name: str) -> None:
        """End a process with SIGKILL, which leaves it no time for anything."""
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """End everything."""
        for name in list(self._running):
            self.stop(name)


class Upstreams:
    """CNCF distribution on one set of files: open, Basic, Bearer, and TLS with its own certificate."""

    NAMES = ("open", "basic", "bearer", "tls")

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._work = processes.work
        self.ports = {name: free_port() for name in (*self.NAMES, "token")}
        self.certificate = self._work / "tls.crt"

    def host(self, name: str) -> str:
        """Return host and port of a registry."""
        return f"127.0.0.1:{self.ports[name]}"

    def start(self) -> None:
        """Start all of them."""
        work, token_port = self._work, self.ports["token"]
        for name in ("tls", "token"):
            if not (work / f"{name}.crt").exists():
                write_pair(name, work / f"{name}.key", work / f"{name}.crt")
        (work / "htpasswd").write_text(f"{HTPASSWD}\n")
        self._processes.start(
            "token",
            *(sys.executable, "-m", "tests.e2e.token_server", str(token_port)),
            *(str(work / "token.key"), str(work / "token.crt")),
            port=token_port,
        )
        realm = f"http://127.0.0.1:{token_port}/token"
        self._start("open")
        self._start("basic", f"auth: {{htpasswd: {{realm: e2e, path: {work}/htpasswd}}}}")
        self._start(
            "bearer",
            f"auth: {{token: {{realm: '{realm}', service: e2e, issuer: {ISSUER}, "
            f"rootcertbundle: {work}/token.crt}}}}",
        )
        tls = f", tls: {{certificate: {work}/tls.crt, key: {work}/tls.key}}"
        self._start("tls", http=tls)

    def _start(self, name: str, extra: str = "", http: str = "") -> None:
        config = self._work / f"{name}.yml"
        config.write_text(
            "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._work}/registry}}}}\n"
            f'http: {{addr: "{self.host(name)}", secret: e2e{http}}}\n{extra}\n'
        )
        port = self.ports[name]
        self._processes.start(name, "docker-registry", "serve", str(config), port=port)

    def requests(self) -> int:
        """Return how many requests all of them have answered, those for tokens included."""
        logs = (self._processes.log(name).read_text() for name in self.NAMES)
        tokens = self._processes.log("token").read_text().count('"GET /token')
        return tokens + sum(log.count("response completed") for log in logs)

    def stop(self) -> None:
        """Stop all of them."""
        for name in (*self.NAMES, "token"):
            self._processes.stop(name)


#: The command that people start.
COMMAND = str(Path(sys.executable).with_name("oci-registry"))


class Mirror:
    """The daemon under test, as it is installed; another one beside it needs another *name*."""

    def __init__(self, processes: Processes, upstreams: Upstreams, name: str = "mirror") -> None:
        self._processes = processes
        self.name = name
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        config = processes.work / "upstreams.yaml"
        (processes.work / "password").write_text(f"{PASSWORD}\n")
        (processes.work / "password").chmod(0o600)
        entries = [
            *((name, "open", "tls: false") for name in ("docker.io", "gcr.io", "example.com")),
            ("basic.example", "basic", f"tls: false, username: {USER}, password: {PASSWORD}"),
            ("bearer.example", "bearer", f"tls: false, username: {USER}, password_file: password"),
            ("anonymous.example", "bearer", "tls: false"),
            ("ca.example", "tls", f"ca_file: {upstreams.certificate}"),
            ("any.example", "tls", "accept_invalid_certs: true"),
            ("strict.example", "tls", "tls: true"),
            ("aged.example", "open", "tls: false, manifest_invalidation_time: 0s, min_age: 3d"),
        ]
        lines = [
            f'- {{namespace: {namespace}, host: "{upstreams.host(name)}", {rest}}}\n'
            for namespace, name, rest in entries
        ]
        config.write_text("".join(lines))
        config.chmod(0o600)
        self.config = str(config)

    def start(self, *storage: str, options: Sequence[str] = (), workers: int | None = None) -> None:
        """Start the command with these arguments for its storage, and *options* before them.

        *workers*: how many worker processes, which are awaited; None: what ``WORKERS`` says, as the daemon.
        """
        if workers is not None:
            options = (*options, "--workers", str(workers))
        before = self._workers_ready()
        self._processes.start(
            self.name,
            *(COMMAND, "--listen", self.address, "--upstream-config-file", self.config),
            *options,
            *storage,
            port=self.port,
        )
        if str(workers or os.environ.get("WORKERS", "1")) != "1":
            for _ in range(200):
                if self._workers_ready() > before:
                    return
                time.sleep(0.1)
            raise RuntimeError(f"there are no workers:\n{self._processes.tail(self.name)}")

    def _workers_ready(self) -> int:
        log = self._processes.log(self.name)
        return log.read_text().count("workers accept connections") if log.exists() else 0

    def settle(self) -> None:
        """Wait until everything that was downloaded is stored, which metrics at the port for clients tell."""
        for _ in range(300):
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as page:
                if b"oci_registry_transfers_in_flight 0.0" in page.read():
                    return
            time.sleep(0.1)
        raise AssertionError(f"{self.name} has transfers under way")

    def stop(self) -> int | None:
        """Stop it; return its exit status."""
        return self._processes.stop(self.name)
