"""The file with the samples of a run."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.results import Results, parse


class ResultsFile(SynchronousTestCase):
    """What one run writes and a later one reads."""

    def test_round_trip(self) -> None:
        """What is written can be read, with every sample."""
        results = Results(["ours", "nginx"], {"Commit": "abc"}, ["wrk is not installed."])
        row = results.row("hits", "manifest", "µs")
        row.add("ours", 1.5, 0.25)
        row.add("ours", 2.5, 0.125)
        self.assertEqual(results, parse(results.dump()))
        self.assertEqual({"ours": [0.25, 0.125]}, parse(results.dump()).rows[0].load)

    def test_same_row(self) -> None:
        """A description and a unit are one row, whoever asks for it."""
        results = Results(["ours"])
        self.assertIs(results.row("hits", "a", "µs"), results.row("hits", "a", "µs"))
        self.assertIsNot(results.row("hits", "a", "µs"), results.row("hits", "a", "s"))

    def test_other_files(self) -> None:
        """Anything else is refused as what it is."""
        good: dict[str, object] = {"format": 1, "servers": [], "about": {}, "notes": [], "rows": []}
        parse(json.dumps(good))
        bad: object
        for bad in ([], {}, {**good, "format": 2}, {**good, "more": 1}, {**good, "rows": [{}]}):
            self.assertRaises(ValueError, parse, json.dumps(bad))
        self.assertRaises(ValueError, parse, "{")
