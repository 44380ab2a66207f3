"""Counts by key."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.tally import Tally


class Counting(SynchronousTestCase):
    """A tally."""

    def test_end(self) -> None:
        """A key is there as long as something is counted under it."""
        tally = Tally[str]()
        for key in ("a", "b", "a"):
            tally[key] += 1
        tally.end("a")
        self.assertEqual({"a": 1, "b": 1}, tally)
        tally.end("a")
        self.assertEqual({"b": 1}, tally)
        self.assertEqual((0, 1), (tally["a"], tally.total()))
        self.assertNotIn("a", tally)
