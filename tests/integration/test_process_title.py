"""What everybody on the machine can see of the daemon's process."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess

PASSWORD = "Tr0ub4dor"
KEY = "c0rrecthorse"
CREDENTIALS = json.dumps({"docker.io": {"username": "alice", "password": PASSWORD}})
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
        self.assertEqual(self.shown(daemon, "comm"), Path(sys.executable).name)

    @running
    async def test_secrets(self) -> None:
        """Credentials for upstreams and the secret key of a bucket are hidden, and everything else stays.

        No trace of them is left behind the title, and the log has none, but warns of both.
        """
        daemon = await self.start(
            *("--upstream-credentials", CREDENTIALS),
            f"--upstream-credentials={CREDENTIALS}",
            storage=[
                *("s3", "--host", f"http://{NOBODY}", "--bucket", "cache"),
                *("--spool", str(self.folder / "spool"), "--access-key", "alice"),
                *("--secret-key", KEY, f"--secret-key={KEY}"),
            ],
        )
        given, shown = " ".join(daemon.command), self.shown(daemon)
        self.assertEqual((2, 2), (given.count(CREDENTIALS), given.count(KEY)))
        self.assertEqual(shown, given.replace(CREDENTIALS, "***").replace(KEY, "***"))
        self.assertEqual(self.shown(daemon, "comm"), Path(sys.executable).name)
        for what in (b"secret key is", b"credentials are"):
            warning = re.compile(rb" warn .*" + what + rb" visible in the process list")
            await until(lambda it=warning: bool(it.search(daemon.output)))  # type: ignore[misc]
        for secret in (PASSWORD, KEY):
            self.assertNotIn(secret, daemon.output.decode())
