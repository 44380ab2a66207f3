"""Where the output of commands goes."""

from __future__ import annotations

import io
import os

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.main import run


class Pipes(SynchronousTestCase):
    """Standard output is a pipe."""

    def test_reader_has_gone(self) -> None:
        """A command whose output nobody reads any more ends without a word, as others before `head` do."""
        status, said = self.unread("completion", "bash")
        self.assertEqual((1, ""), (status, said))

    def test_reader_of_a_failure_has_gone(self) -> None:
        """A command that has failed says why, and ends without another word if nobody reads its output."""
        status, said = self.unread("show", "--json", "a/b", "--root", "/proc/none")
        self.assertEqual(1, status)
        self.assertEqual(1, said.count("\n"), said)

    def unread(self, name: str, *args: str) -> tuple[int, str]:
        """Run a command whose standard output nobody reads; return its status, and what it says otherwise."""
        reading, writing = os.pipe()
        os.close(reading)
        err = io.StringIO()
        with open(writing, "w") as out:
            status = run(name, args, {}, out, err)
        return status, err.getvalue()
