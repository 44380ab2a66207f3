"""Rounds of the reactor that take long."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.rounds import Rounds


class Longest(SynchronousTestCase):
    """What a daemon has written down."""

    def test_longest(self) -> None:
        """The longest since a moment counts, in milliseconds; nothing if there was none."""
        file = Path(self.mktemp())
        file.write_text("100.0 0.5\n101.0 0.002\n102.5 0.004\n103.0 0.003\n")
        rounds = Rounds(file)
        self.assertEqual(4.0, rounds.longest(101.0))
        self.assertEqual(3.0, rounds.longest(103.0))
        self.assertEqual(0.0, rounds.longest(104.0))

    def test_program(self) -> None:
        """The program is Python, also with a file of an odd name and with something before it."""
        option, code = Rounds(Path('a "b" {c}\\'), "first = 1").program
        self.assertEqual("-c", option)
        compile(code, "program", "exec")
        self.assertIn("\nfirst = 1\n", code)
