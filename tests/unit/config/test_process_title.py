"""Secrets in the arguments of a process."""

from __future__ import annotations

import setproctitle
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.process_title import MASK, hide_secrets, mask

from .support import SECRET

COMMAND = ["python", "-m", "oci_registry"]


class Masking(SynchronousTestCase):
    """mask."""

    def test_nothing_secret(self) -> None:
        """Arguments without a secret stay as they are, names of files with secrets too."""
        for arguments in (
            [],
            COMMAND,
            [*COMMAND, "--listen", ":80", "s3", "--bucket=b", "--spool", "/s"],
            [*COMMAND, "--upstream-credentials-file=f", "s3", "--secret-key-file", "f"],
            ["--", "-s", "-secret-key", "secret-key", "x"],
        ):
            self.assertEqual(mask(arguments), arguments)

    def test_separate(self) -> None:
        """The argument behind the option is replaced, whatever it looks like."""
        for secret in (SECRET, "", "--root", "--secret-key", "a=b"):
            self.assertEqual(
                mask(["s3", "--secret-key", secret, "--bucket", "b"]),
                ["s3", "--secret-key", MASK, "--bucket", "b"],
            )

    def test_joined(self) -> None:
        """What is behind the equals sign is replaced, other such signs included."""
        self.assertEqual(
            mask([f"--upstream-credentials={SECRET}", f"--secret-key=a=b={SECRET}", "x"]),
            [f"--upstream-credentials={MASK}", f"--secret-key={MASK}", "x"],
        )

    def test_abbreviated(self) -> None:
        """What is behind the equals sign of an abbreviated flag is replaced, be the flag clear or not."""
        for flag in ("--secret-ke", "--sec", "--upstream-cred", "--u"):
            self.assertEqual(mask([flag, SECRET, "x"]), [flag, MASK, "x"])
            self.assertEqual(mask([f"{flag}={SECRET}", "x"]), [f"{flag}={MASK}", "x"])

    def test_twice(self) -> None:
        """Every occurrence counts, and one at the end without a value is ignored."""
        self.assertEqual(
            mask(["--secret-key", SECRET, "--secret-key", SECRET, "--secret-key"]),
            ["--secret-key", MASK, "--secret-key", MASK, "--secret-key"],
        )

    @given(st.lists(st.sampled_from(["--secret-key", "--upstream-credentials", "x", "--b=c"])))
    def test_anywhere(self, before: list[str]) -> None:
        """No secret survives, and there are as many arguments as before."""
        arguments = [*before, f"--secret-key={SECRET}", "--secret-key", SECRET]
        masked = mask(arguments)
        self.assertEqual(len(masked), len(arguments))
        # Behind an option without a value, the next one is its value.
        if mask([*before, "y"])[-1] == "y":
            self.assertNotIn(SECRET, " ".join(masked))


class Hiding(SynchronousTestCase):
    """hide_secrets."""

    def setUp(self) -> None:
        self.titles: list[str] = []
        self.names: list[str] = []
        self.patch(setproctitle, "setproctitle", self.titles.append)
        self.patch(setproctitle, "getthreadtitle", lambda: "python")
        self.patch(setproctitle, "setthreadtitle", self.names.append)

    def test_untouched(self) -> None:
        """Without a secret the process keeps its title."""
        hide_secrets([*COMMAND, "s3", "--bucket", "b"])
        self.assertEqual((self.titles, self.names), ([], []))

    def test_hidden(self) -> None:
        """With one, the title is the masked command line, and the short name stays."""
        hide_secrets([*COMMAND, "s3", "--secret-key", SECRET, "--bucket", "b"])
        self.assertEqual(self.titles, [f"python -m oci_registry s3 --secret-key {MASK} --bucket b"])
        self.assertEqual(self.names, ["python"])

    def test_odd_bytes(self) -> None:
        """Arguments that are not UTF-8 do not keep the secret in sight."""
        hide_secrets(["python", "--root=/\udcff", f"--secret-key={SECRET}"])
        self.assertEqual(self.titles, [f"python --root=/\ufffd --secret-key={MASK}"])
