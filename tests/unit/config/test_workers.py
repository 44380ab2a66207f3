"""The number of worker processes."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.workers import MAX_WORKERS, available_processors, parse_workers


class Workers(SynchronousTestCase):
    """What an operator writes."""

    def test_numbers(self) -> None:
        """Numbers from 1 to 64, with spaces around them."""
        self.assertEqual([1, 4, 64], [parse_workers(text) for text in ("1", " 4 ", "64")])

    def test_refused(self) -> None:
        """Anything else is refused with the reason."""
        for text in ("0", "65", "-1", "1.5", "", "two", "²", "99999999999999999999", "auto 2"):
            error = self.assertRaises(ValueError, parse_workers, text)
            self.assertIn("is not a number from 1 to 64, or auto", str(error))

    def test_auto(self) -> None:
        """auto is the number of processors that may be used, 64 at most."""
        self.patch(os, "sched_getaffinity", lambda _: set(range(3)))
        self.assertEqual(min(3, available_processors()), parse_workers("Auto"))
        self.patch(os, "sched_getaffinity", lambda _: set(range(500)))
        self.assertLessEqual(parse_workers("auto"), MAX_WORKERS)

    def test_limit_of_a_container(self) -> None:
        """A container with a limit has as many as that allows, rounded up."""
        self.patch(os, "sched_getaffinity", lambda _: set(range(8)))
        quota = Path(self.mktemp())
        for text, expected in (
            ("200000 100000\n", 2),
            ("150000 100000", 2),
            ("5000 100000", 1),
            ("max 100000", 8),
            ("9000000 100000", 8),
            ("nonsense", 8),
            ("1 0", 8),
            ("", 8),
        ):
            quota.write_text(text)
            self.assertEqual(expected, available_processors(quota), text)
        self.assertEqual(8, available_processors(Path("/nowhere")))
