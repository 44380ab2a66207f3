"""--check-config, by every command that starts the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml
from twisted.trial.unittest import TestCase

from tests.support.daemon import reactor, running
from tests.support.process import SOURCE, ListeningProcess

TWISTD = "from twisted.scripts.twistd import run; run()"
COMMANDS = (["-m", "oci_registry"], ["-c", TWISTD, "-n", "oci-registry"])
SECRET = "Tr0ub4dor"


class Checking(ListeningProcess):
    """A command whose two outputs are kept apart."""

    errors = b""

    def errReceived(self, data: bytes) -> None:
        self.errors += data


class CheckConfig(TestCase):
    """The real command, which ends by itself."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.upstreams = self.folder / "upstreams.yaml"
        self.root = self.folder / "root"

    async def run_with(self, *command: str) -> tuple[str, str, int]:
        """Return standard output, standard error and exit status."""
        arguments = [
            *command,
            *("--check-config", "--upstream-config-file", str(self.upstreams)),
            *("filesystem", "--root", str(self.root)),
        ]
        environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
        process = Checking(
            reactor,
            [sys.executable, *arguments],
            environment,
            forked=True,
            path=str(self.folder),
        )
        self.addCleanup(process.end)
        process.listening.addErrback(lambda _: None)
        await process.ended
        assert process.status is not None
        return process.output.decode(), process.errors.decode(), process.status

    @running
    async def test_good(self) -> None:
        """Both commands print what would be in effect, exit with 0, and make nothing."""
        self.upstreams.write_text(
            f"- {{namespace: a.example, host: b.example, username: u, password: {SECRET}}}"
        )
        self.upstreams.chmod(0o600)
        for command in COMMANDS:
            output, errors, status = await self.run_with(*command)
            self.assertEqual((status, errors), (0, ""), command)
            self.assertNotIn(SECRET, output)
            shown = yaml.safe_load(output)
            self.assertEqual(shown["upstream-config-file"][0]["hosts"][0]["password"], "***")
            self.assertEqual(["upstreams.yaml"], os.listdir(self.folder))

    @running
    async def test_bad(self) -> None:
        """Problems go to standard error, a line each, and the status is not 0."""
        self.upstreams.write_text("- {namespace: a.example, hots: b.example, retries: -1}")
        for command in COMMANDS:
            output, errors, status = await self.run_with(*command)
            self.assertEqual(status, 1, command)
            said = errors + output
            for key in ("host:", "hots", "retries"):
                self.assertIn(key, said)
            self.assertEqual(command[0] == "-c", "--help" in said)
            self.assertNotIn("listen:", output)
            self.assertEqual(["upstreams.yaml"], os.listdir(self.folder))
