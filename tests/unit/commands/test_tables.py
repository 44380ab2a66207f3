"""Rows on a terminal and elsewhere."""

from __future__ import annotations

import time
from io import StringIO
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from oci_registry.commands.output import Output
from oci_registry.commands.tables import Column, ago, date, print_rows, size_of
from tests.unit.commands.test_output import Terminal

COLUMNS = (Column("IMAGE"), Column("SIZE", right=True))
ROWS = (("docker.io/library/x:[bold]1", "5 B"), ("evil\x1b[31m\n", "12 MB"))


class Rows(SynchronousTestCase):
    """What is printed."""

    def print_on(self, out: StringIO, *, json: bool = False) -> list[str]:
        print_rows(Output("ls", out, StringIO(), json=json), COLUMNS, ROWS)
        return out.getvalue().splitlines()

    def test_plain(self) -> None:
        """Elsewhere there are tabs and no headings, and no control characters."""
        self.assertEqual(
            ["docker.io/library/x:[bold]1\t5 B", "evil\\x1b[31m\\n\t12 MB"],
            self.print_on(StringIO()),
        )

    def test_json(self) -> None:
        """With JSON there is nothing."""
        self.assertEqual([], self.print_on(Terminal(), json=True))

    def test_terminal(self) -> None:
        """On a terminal columns have headings and are aligned, with rich or without."""
        with mock.patch.dict("sys.modules", {"rich": None, "rich.console": None}):
            plain = self.print_on(Terminal())
        self.assertEqual("IMAGE                         SIZE", plain[0])
        self.assertEqual("evil\\x1b[31m\\n               12 MB", plain[2])

    def test_rich(self) -> None:
        """With rich, too; markup has no meaning."""
        try:
            import rich  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise SkipTest("rich is not installed") from None
        with mock.patch.dict("os.environ", {"COLUMNS": "100", "TERM": "dumb"}):
            lines = self.print_on(Terminal())
        self.assertIn("IMAGE", lines[0])
        self.assertIn("x:[bold]1", lines[1])
        self.assertIn("evil\\x1b[31m\\n", lines[2])

    def test_values(self) -> None:
        """Times and sizes are for people; what is not known is a dash."""
        self.assertEqual(("-", "-", "-"), (size_of(None), ago(None), date(None)))
        self.assertEqual(("1.5 kB", "1970-01-01T00:00:01Z"), (size_of(1500), date(1.5)))
        self.assertEqual("2 days", ago(time.time() - 2 * 86400 - 60))
        self.assertEqual("0.0 s", ago(time.time() + 60))
