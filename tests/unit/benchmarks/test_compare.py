"""How two runs differ."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.compare import compare, side_by_side, verdict
from benchmarks.results import Results
from tests.unit.benchmarks.test_report import cells


def run(*servers: tuple[str, list[float]], what: str = "manifest") -> Results:
    """Return results with one row."""
    results = Results([name for name, _ in servers])
    for name, samples in servers:
        for sample in samples:
            results.row("hits", what, "µs").add(name, sample)
    return results


class Comparison(SynchronousTestCase):
    """Old and new."""

    def test_verdict(self) -> None:
        """Only samples that do not overlap, and differ by more than noise, are better or worse."""
        self.assertEqual("better", verdict([10, 11, 12], [8, 9, 9.5]))
        self.assertEqual("worse", verdict([10, 11, 12], [13, 14, 15]))
        self.assertEqual("", verdict([10, 11, 12], [9, 11.5, 14]))
        self.assertEqual("", verdict([10, 10, 10], [10.2, 10.2, 10.2]))
        self.assertEqual("", verdict([0, 0, 0], [0, 0, 0]))

    def test_few_samples(self) -> None:
        """Two samples are too few for a verdict, however far apart."""
        self.assertEqual("", verdict([1, 1], [9, 9]))

    def test_files(self) -> None:
        """Figures are beside each other, and so are their ratios to the peer of each run."""
        old = run(("ours", [20, 20, 20]), ("nginx", [10, 10, 10]))
        new = run(("ours", [10, 10, 10]), ("nginx", [20, 20, 20]))
        head, _, line = compare(old, new).splitlines()
        self.assertEqual(
            ["", "old", "new", "new / old", "", "old / nginx", "new / nginx"], cells(head)
        )
        figures = ["20.0", "10.0", "0.50", "better", "2.00", "0.50"]
        self.assertEqual(["manifest (µs)", *figures], cells(line))

    def test_other_rows(self) -> None:
        """Rows that only one of them has are left out, and two that share none say so."""
        old, new = run(("ours", [1])), run(("ours", [1]), what="blob")
        self.assertIn("no row in common", compare(old, new))

    def test_missing_peer(self) -> None:
        """A peer that only one run has leaves the other one's ratio empty."""
        new = run(("ours", [1]), ("nginx", [1]))
        self.assertEqual(["", "1.00"], cells(compare(run(("ours", [1])), new).splitlines()[2])[-2:])

    def test_trees(self) -> None:
        """Two trees of one run are compared round by round."""
        measured = run(("old", [10, 100, 20]), ("new", [5, 50, 10]))
        line = cells(side_by_side(measured).splitlines()[2])
        self.assertEqual("0.50", line[3])
        self.assertIn("no figures", side_by_side(Results(["old", "new"])))
