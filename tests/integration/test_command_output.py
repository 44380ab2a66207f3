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
        reading, writing = os.pipe()
        os.close(reading)
        err = io.StringIO()
        with open(writing, "w") as out:
            self.assertEqual(1, run("completion", ["bash"], {}, out, err))
        self.assertEqual("", err.getvalue())
