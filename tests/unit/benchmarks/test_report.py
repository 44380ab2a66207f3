"""The table of a run."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.report import (
    BEGIN,
    END,
    figure,
    layout,
    load_sentence,
    ratios,
    replace_section,
    spread,
    table,
    text,
)
from benchmarks.results import Results


class Figures(SynchronousTestCase):
    """Numbers as people read them."""

    def test_digits(self) -> None:
        """Three digits count, whatever the size."""
        shown = [figure(number) for number in (11707.2, 99.96, 14.13, 9.999, 0.5, 0.0214, 0)]
        self.assertEqual(["11707", "100", "14.1", "10.0", "0.50", "0.021", "0.00"], shown)

    def test_spread(self) -> None:
        """The median stands before half the range of the samples, if they differ."""
        self.assertEqual("20.0 ±10%", spread([22, 18, 20]))
        self.assertEqual("2.00", spread([2]))
        self.assertEqual("0.00", spread([-1, 0, 1]))

    def test_ratios(self) -> None:
        """Ratios are taken round by round, so that a slow round does not count."""
        self.assertEqual([2, 2, 2], ratios([2, 4, 20], [1, 2, 10]))
        self.assertEqual([3], ratios([2, 3], [0, 1]))


class Tables(SynchronousTestCase):
    """What is printed."""

    def setUp(self) -> None:
        self.results = Results(["ours", "nginx", "absent"], {"Commit": "abc"})
        row = self.results.row("hits", "manifest", "µs")
        for our, their in ((20, 10), (40, 10), (30, 10)):
            row.add("ours", our, 0.25)
            row.add("nginx", their, 0.5)
        self.results.row("memory", "idle", "MiB").add("ours", 50)

    def test_columns(self) -> None:
        """Each server that has figures has a column; all but the first have a ratio too."""
        head, rule, first, second = table(self.results).splitlines()
        self.assertEqual(["", "ours", "nginx", "ratio"], cells(head))
        self.assertEqual({"-", "|"}, set(rule))
        manifest = ["manifest (µs)", "30.0 ±33%", "10.0", "3.00 ±33%"]
        self.assertEqual(manifest, cells(first))
        self.assertEqual(["idle (MiB)", "50.0", "", ""], cells(second))

    def test_nothing(self) -> None:
        """A run without figures says so."""
        self.assertIn("no figures", table(Results(["ours"])))

    def test_width(self) -> None:
        """All lines of a table have the same width."""
        self.assertEqual(
            {11}, {len(line) for line in layout(["a", "bcd"], [["x", ""]]).splitlines()}
        )

    def test_load(self) -> None:
        """The report says what the load generator used, and where it used more than the server."""
        self.assertIn("at most 50%", load_sentence(self.results))
        self.assertNotIn("waited", load_sentence(self.results))
        self.results.row("hits", "blob", "s/GB").add("nginx", 0.1, 1.5)
        self.assertIn("waited for it in: blob, nginx.", load_sentence(self.results))
        self.assertEqual("", load_sentence(Results(["ours"])))

    def test_text(self) -> None:
        """The commit comes first; what is missing comes last, and once."""
        for _ in range(2):
            self.results.note("wrk is not installed.")
        shown = text(self.results)
        self.assertTrue(shown.startswith("* Commit: abc\n"))
        self.assertEqual(1, shown.count("* wrk is not installed."))

    def test_page(self) -> None:
        """Only what is between the marks of a page is replaced."""
        page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
        self.assertEqual(f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n", replace_section(page, "new"))
        self.assertRaises(ValueError, replace_section, "no marks", "new")
        self.assertRaises(ValueError, replace_section, f"{END}{BEGIN}", "new")


def cells(line: str) -> list[str]:
    """Return what the columns of a line have."""
    return [cell.strip() for cell in line.strip("|").split("|")]
