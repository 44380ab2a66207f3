"""Rounds of the reactor that take long."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.rounds import Rounds, Spread


class Longest(SynchronousTestCase):
    """What a daemon has written down."""

    def test_longest(self) -> None:
        """The longest since a moment counts, in milliseconds; nothing if there was none."""
        file = Path(self.mktemp())
        file.write_text(
            "100.0 10 0.5 0.5 0\n101.0 12 0.002 0.001 0\n102.5 2000 0.004 0.003 0.001\n103.0 2011 0.003 0 0\n"
        )
        rounds = Rounds(file)
        self.assertEqual(4.0, rounds.longest(101.0))
        self.assertEqual(3.0, rounds.longest(103.0))
        self.assertEqual(0.0, rounds.longest(104.0))

    def test_spread(self) -> None:
        """Rounds that were too short to be written down count too: one in a thousand took so long or longer."""
        file = Path(self.mktemp())
        file.write_text(
            "1.0 1 0.012 0.011 0.002\n2.0 900 0.004 0.003 0\n3.0 1500 0.003 0.003 0\n3.0 2000 0.002 0 0\n"
        )
        spread = Spread.of(Rounds(file).since(0.0))
        self.assertEqual(
            (12.0, 3.0, 1, 2000), (spread.longest, spread.rare, spread.long, spread.rounds)
        )
        self.assertEqual("reactor 11.0, garbage 2.0", spread.cause)
        self.assertEqual(0, Spread.of([]).rounds)

    def test_program(self) -> None:
        """The program is Python, also with a file of an odd name and with something before it."""
        option, code = Rounds(Path('a "b" {c}\\'), "first = 1").program
        self.assertEqual("-c", option)
        compile(code, "program", "exec")
        self.assertIn("\nfirst = 1\n", code)
