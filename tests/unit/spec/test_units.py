"""Bytes and seconds as people read them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.units import in_bytes, in_seconds


class Figures(SynchronousTestCase):
    """Bytes and seconds."""

    def test_bytes(self) -> None:
        """Bytes have a decimal unit, and two or three digits."""
        for count, expected in (
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_960, "10 kB"),
            (120_000_000, "120 MB"),
            (999_600_000, "1.0 GB"),
            (4_200_000_000, "4.2 GB"),
            (10**19, "10000 PB"),
        ):
            self.assertEqual(expected, in_bytes(count))

    def test_seconds(self) -> None:
        """Seconds have a tenth while it matters."""
        for seconds, expected in ((0, "0.0 s"), (9.1, "9.1 s"), (99.96, "100 s"), (3600, "3600 s")):
            self.assertEqual(expected, in_seconds(seconds))
