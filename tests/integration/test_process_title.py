"""What everybody on the machine can see of the daemon's process."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess

SECRET = "Tr0ub4dor"
CREDENTIALS = json.dumps({"docker.io": {"username": "alice", "password": SECRET}})
NOBODY = "127.0.0.1:1"


class ProcessTitle(TestCase):
    """The real daemon as a process, in the list of processes."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    async def start(self, *options: str, storage: list[str] | None = None) -> DaemonProcess:
        root = self.folder / "root"
        daemon = DaemonProcess(reactor, root, NOBODY, *options, storage=storage)
        self.addCleanup(daemon.kill, "KILL")
        await daemon.listening
        return daemon

    def shown(self, daemon: DaemonProcess, name: str = "cmdline") -> str:
        return Path(f"/proc/{daemon.process.pid}/{name}").read_bytes().rstrip(b"\0\n").decode()

    @running
    async def test_nothing_secret(self) -> None:
        """Without a secret on its command line, the process shows it as it was given."""
        path = self.folder / "credentials.json"
        path.write_text(CREDENTIALS)
        daemon = await self.start("--upstream-credentials-file", str(path))
        self.assertEqual(self.shown(daemon).split("\0"), daemon.command)

    @running
    async def test_upstream_credentials(self) -> None:
        """Credentials for upstreams are hidden, and everything else stays."""
        plain = await self.start()
        daemon = await self.start(
            *("--upstream-credentials", CREDENTIALS),
            f"--upstream-credentials={CREDENTIALS}",
        )
        shown = self.shown(daemon)
        self.assertEqual(2, " ".join(daemon.command).count(CREDENTIALS))
        self.assertEqual(shown, " ".join(daemon.command).replace(CREDENTIALS, "***"))
        self.assertEqual(self.shown(daemon, "comm"), self.shown(plain, "comm"))

    @running
    async def test_secret_key(self) -> None:
        """The secret key of a bucket is hidden; no trace of it is left behind the title."""
        daemon = await self.start(
            storage=[
                *("s3", "--host", f"http://{NOBODY}", "--bucket", "cache"),
                *("--spool", str(self.folder / "spool"), "--access-key", "alice"),
                *("--secret-key", SECRET, f"--secret-key={SECRET}"),
            ]
        )
        shown = self.shown(daemon)
        self.assertEqual(2, " ".join(daemon.command).count(SECRET))
        self.assertEqual(shown, " ".join(daemon.command).replace(SECRET, "***"))
        await until(lambda: b"process list" in daemon.output)
        self.assertNotIn(SECRET, daemon.output.decode())
