"""When processes are started again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.restarts import LONGEST, STEADY, Restarts


class Waits(SynchronousTestCase):
    """The seconds until the next start."""

    def test_later_and_later(self) -> None:
        """The first is at once, each further one later, up to a minute."""
        restarts = Restarts()
        waits = [restarts.ended(1.0) for _ in range(500)]
        self.assertEqual([0.0, 1.0, 1.5, 2.25], waits[:4])
        self.assertEqual(sorted(waits), waits)
        self.assertEqual(LONGEST, waits[-1])

    def test_steady(self) -> None:
        """A process that has run for some time is started at once again."""
        restarts = Restarts()
        for _ in range(5):
            restarts.ended(0.1)
        self.assertEqual(0.0, restarts.ended(STEADY))
        self.assertEqual(1.0, restarts.ended(0.1))
