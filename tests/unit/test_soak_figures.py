"""The bounds of the soak."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.soak.figures import Figures, Sample

FLAT = [Sample(100.0, 50)] * 40


def figures(samples: list[Sample] = FLAT, **seen: int) -> Figures:
    """Return what a good run shows, except for what was *seen*."""
    counted = Counter({"pulls": 10, "bytes": 10**9}) | Counter(
        {name.replace("_", " "): count for name, count in seen.items()}
    )
    return Figures(counted, samples, at_start=Sample(50.0, 10), at_rest=Sample(100.0, 10))


class Broken(SynchronousTestCase):
    """What makes a run a failure."""

    def only(self, word: str, shown: Figures) -> None:
        (sentence,) = shown.broken()
        self.assertIn(word, sentence)

    def test_good(self) -> None:
        """Nothing is wrong with a run in which all pulls succeed, whatever it took."""
        self.assertEqual([], figures(retries=100, closed_short=50).broken())

    def test_pulls(self) -> None:
        """Each pull that fails is too many, and so is a run without any."""
        self.only("1 pulls failed", figures(failed_pulls=1))
        nothing = figures()
        nothing.seen.clear()
        self.only("nothing", nothing)

    def test_responses(self) -> None:
        """A complete response with wrong bytes, a wrong length or a reset connection makes a run a failure."""
        self.only("1 complete", figures(wrong_bytes=1))
        self.only("wrong length", figures(wrong_lengths=1))
        self.only("1 connections", figures(connections_reset=1))

    def test_memory(self) -> None:
        """Memory may grow in the first half, and by less than 32 MiB from there on."""
        warm = [Sample(10.0, 50)] * 10

        def grown(by: float) -> Figures:
            return figures([*warm, *FLAT[:20], *[Sample(100.0 + by, 50)] * 10])

        self.assertEqual([], grown(31.0).broken())
        self.only("memory has grown by 32 MiB", grown(32.0))

    def test_files(self) -> None:
        """Open files may not grow, and must be closed when all is over."""
        self.assertEqual([], figures([*FLAT[:30], *[Sample(100.0, 114)] * 10]).broken())
        self.only("last quarter", figures([*FLAT[:30], *[Sample(100.0, 115)] * 10]))
        kept = figures()
        kept.at_rest = Sample(100.0, 19)
        self.only("9 more files were open at rest", kept)

    def test_remains(self) -> None:
        """Nothing is left over on the disk, and no traceback in the log."""
        remains: dict[str, Any] = {"left_over": ["x"], "crashes": 1}
        for name, value in remains.items():
            shown = figures()
            setattr(shown, name, value)
            self.assertEqual(1, len(shown.broken()), name)

    def test_short_run(self) -> None:
        """A run that is too short for quarters has figures too."""
        self.assertEqual([], figures(FLAT[:1]).broken())
        self.assertTrue(figures([]).lines())
