"""Long work in steps."""

from __future__ import annotations

import sys

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.steps import SWITCH, at_once, no_pause, pauses, switch_often


class Pauses(SynchronousTestCase):
    """Breaks between two steps."""

    def test_next_turn(self) -> None:
        """A pause ends in the next iteration of the reactor."""
        clock = Clock()
        waiting = pauses(clock)()
        self.assertNoResult(waiting)
        clock.advance(0)
        self.successResultOf(waiting)

    def test_cancelled(self) -> None:
        """A pause that is cancelled leaves nothing behind."""
        clock = Clock()
        waiting = pauses(clock)()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([], clock.getDelayedCalls())

    def test_none(self) -> None:
        """Without pauses work continues at once."""
        self.successResultOf(no_pause())

    def test_at_once(self) -> None:
        """Work without pauses has its result at once, or its error; what has to wait is a mistake."""

        async def work(result: int) -> int:
            await no_pause()
            return 10 // result

        self.assertEqual(5, at_once(work(2)))
        self.assertRaises(ZeroDivisionError, at_once, work(0))

        async def wait() -> None:
            await pauses(Clock())()

        self.assertRaises(AssertionError, at_once, wait())

    def test_threads(self) -> None:
        """Threads give way to each other often."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        switch_often()
        self.assertAlmostEqual(SWITCH, sys.getswitchinterval())
