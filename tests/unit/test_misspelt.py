"""The first argument of the command line, if it is wrong."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.__main__ import _misspelt


class Misspelt(SynchronousTestCase):
    """What is nearly the name of a command."""

    def test_command(self) -> None:
        """A misspelt command is shown with the one that is meant."""
        self.assertEqual("unknown command 'shwo': did you mean show?", _misspelt(["shwo", "x:1"]))

    def test_others(self) -> None:
        """Options, storages and what is like nothing have other messages."""
        for first in ("--listen", "filesystem", "filsystem", "S3", "{torn", "secret-of-someone"):
            self.assertIsNone(_misspelt([first, "x"]), first)
        self.assertIsNone(_misspelt([]))
