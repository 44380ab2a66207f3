"""What workers share: sockets of every kind, memory, and what they do without."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

from oci_registry.workers.sending import LEAST
from tests.support.certificates import Certified
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_tokens import FakeTokens
from tests.support.patterns import noise
from tests.support.process import SOURCE, ListeningProcess
from tests.support.workers import WorkersTestCase, children, exists

MOST_MIB = 110
"""The memory of the main process and four workers, shared pages counted once."""
NOT_NEEDED = ("OpenSSL", "boto3", "botocore", "cryptography", "prometheus_client", "treq", "yaml")


def memory(pid: int) -> int:
    """Return the memory of a process in KiB, shared pages as its share (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no PSS")


class Sharing(WorkersTestCase):
    """Listening sockets."""

    @running
    async def test_tls(self) -> None:
        """TLS is served by the main process alone, which a warning says at the start."""
        certified = Certified("127.0.0.1")
        for name, content in (("k", certified.key), ("c", certified.certificate)):
            (self.folder / name).write_bytes(content)
        files = f"privateKey={self.folder}/k:certKey={self.folder}/c"
        daemon, client = await self.serve(f"--listen=ssl:0:interface=127.0.0.1:{files}")
        self.assertIn(b"workers cannot share https://127.0.0.1:", daemon.output)
        self.assertEqual(200, (await client.get("/v2/")).status)

    @running
    async def test_activation(self) -> None:
        """A socket that systemd passes is shared."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        command = [sys.executable, "-m", "oci_registry", "--workers", "2"]
        command += [
            "--listen",
            "systemd:domain=INET:index=0",
            "filesystem",
            "--root",
            str(self.root),
        ]
        shell = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
        daemon = ListeningProcess(
            reactor,
            shell,
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "x.socket", "PYTHONPATH": SOURCE},
            childFDs={0: "w", 1: "r", 2: "r", 3: listening.fileno()},
        )
        self.addCleanup(daemon.end)
        await until(lambda: b"2 workers accept connections" in daemon.output)
        client = Client(reactor, listening.getsockname()[1])
        self.addCleanup(client.close)
        for _ in range(5):
            self.assertEqual(200, (await client.get("/v2/")).status)
        client.close()
        pids = children(daemon.process.pid)
        await daemon.kill("TERM")
        await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


class Tokens(WorkersTestCase):
    """A registry that wants a token."""

    @running
    async def test_one_token(self) -> None:
        """Eight clients of an image that is not stored cause one token request, in any worker."""
        tokens = FakeTokens(self.registry)
        tokens.protect(self.registry)
        self.registry.add_image("library/app", "1")
        await self.serve(workers=4)
        opened = await self.connect_many(8)
        for connection in opened:
            connection.ask("/v2/library/app/manifests/1", Connection="close")
        for connection in opened:
            self.assertIn(b"\r\n\r\n{", await connection.ended())
        self.assertEqual(["token-1"], tokens.given)
        self.assertEqual(1, self.registry.count("/token"))


class FewFiles(WorkersTestCase):
    """Workers that may open no further file, so that descriptors do not arrive."""

    def limit(self, pid: int, files: int) -> None:
        """Let a process open so many files; those that it has remain open."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, hard))

    @running
    async def test_sends_itself(self) -> None:
        """The main process sends what a worker cannot; a connection that cannot go back is closed."""
        data = noise(6, LEAST + 100_000)
        self.registry.add_image("library/app", "1")
        path = f"/v2/library/app/blobs/{self.registry.add_blob(data)}"
        daemon, client = await self.serve()
        self.assertTrue(bytes((await client.get(path)).body) == data)
        await until(lambda: not list(self.root.glob("transfers/*")))
        connection = await self.connect()
        connection.ask(path)
        await connection.until_body(len(data))
        workers = self.workers(daemon).values()
        for pid in workers:
            self.limit(pid, 3)
        connection.got.clear()
        connection.ask(path)
        await connection.until_body(len(data))
        self.assertTrue(connection.got.endswith(data))
        while connection.lost is None:
            begun = len(connection.got)
            connection.ask("/v2/library/app/manifests/1")
            await connection.until(begun + 1)
        for pid in workers:
            self.limit(pid, 100)
        self.assertEqual(200, (await client.get("/v2/", Connection="close")).status)
        self.assertNotIn(b"Traceback", daemon.output)


class EarlyStop(WorkersTestCase):
    """A daemon whose workers are not there yet."""

    @running
    async def test_term_at_the_start(self) -> None:
        """SIGTERM while workers are being started ends all processes at once, not after the grace period."""

        # The signal comes while the process that forks workers imports what they need, and when it forks them.
        def starting(pid: int, forked: bool) -> list[int]:
            forking = children(pid)
            workers = [worker for each in forking for worker in children(each)]
            return forking + workers if workers or not forked else []

        for forked in (False, True, True):
            self.forked = forked
            daemon, _ = await self.start("--workers", "4", "--shutdown-grace", "200s")
            await until(lambda pid=daemon.process.pid, now=forked: bool(starting(pid, now)))
            pids = starting(daemon.process.pid, forked)
            await daemon.kill("TERM")
            self.assertFalse([pid for pid in pids if exists(pid)])
            self.assertNotIn(b"Traceback", daemon.output)
            self.assertNotIn(b"did not end", daemon.output)


class Memory(WorkersTestCase):
    """What workers cost."""

    @running
    async def test_memory(self) -> None:
        """The main process and four workers that have served take less than 110 MiB together."""
        self.registry.add_image("library/app", "1")
        # A forked one would share its memory with its parent.
        self.forked = False
        daemon, client = await self.serve(workers=4)
        for _ in range(40):
            await client.get("/v2/library/app/manifests/1")
            client.close()
            client.responses.clear()
        opened = await self.connect_many(40)
        for _ in range(5):
            for connection in opened:
                begun = len(connection.got)
                connection.ask("/v2/library/app/manifests/1")
                await connection.until(begun + 1)
        pids = [daemon.process.pid, *children(daemon.process.pid)]
        self.assertEqual(6, len(pids))
        total = sum(map(memory, pids)) / 1024
        self.assertLess(total, MOST_MIB)

    def test_imports(self) -> None:
        """A worker does without the modules for TLS, buckets, registries, metrics and configuration."""
        program = (
            "import json, sys\n"
            "from oci_registry.workers.forking import without_tls\n"
            "without_tls()\n"
            "import oci_registry.workers.worker\n"
            "print(json.dumps([name for name, module in sys.modules.items() if module]))\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": os.pathsep.join((SOURCE, *sys.path))},
            capture_output=True,
            check=True,
        )
        modules = json.loads(found.stdout)
        self.assertEqual([], [name for name in NOT_NEEDED if name in modules])
        self.assertNotIn("twisted.internet.reactor", modules)
