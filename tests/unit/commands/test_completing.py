"""Completion in shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands import COMMANDS
from tests.support.bundles import command

_ASK = """\
source {file}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_oci_registry
echo "${{COMPREPLY[@]}}"
"""


class Completing(SynchronousTestCase):
    """What shells get."""

    def made(self, shell: str) -> Path:
        ran = command("completion", shell)
        self.assertEqual((0, ""), (ran.status, ran.err))
        file = Path(self.mktemp())
        file.write_text(ran.out)
        return file

    def completed(self, *words: str) -> list[str]:
        script = _ASK.format(file=self.made("bash"), words=" ".join(words))
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, text=True)
        self.assertEqual("", done.stderr)
        return done.stdout.split()

    def test_bash(self) -> None:
        """Bash completes commands and their options."""
        self.assertEqual(["rm", "refresh"], self.completed("oci-registry", "r"))
        self.assertEqual(["--sort"], self.completed("oci-registry", "ls", "--so"))
        self.assertEqual(["--blobs"], self.completed("oci-registry", "rm", "--b"))
        self.assertIn("setup", self.completed("oci-registry", "''"))

    def test_others(self) -> None:
        """Other shells can read theirs, if they are here; each knows all commands."""
        for shell, check in (("zsh", "-n"), ("fish", "--no-execute")):
            file = self.made(shell)
            for name in COMMANDS:
                self.assertIn(name, file.read_text())
            if shutil.which(shell) is not None:
                subprocess.run([shell, check, str(file)], check=True)

    def test_quotes(self) -> None:
        """No text of a help ends a quotation."""
        for shell in ("zsh", "fish"):
            for line in self.made(shell).read_text().splitlines():
                text = line.replace("'\\''", "").replace("\\'", "")
                self.assertEqual(0, text.count("'") % 2, line)

    def test_unknown(self) -> None:
        """Another shell is refused."""
        ran = command("completion", "csh")
        self.assertEqual(2, ran.status)
        self.assertIn("invalid choice: 'csh'", ran.err)
