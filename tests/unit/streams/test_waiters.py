"""Waiting for one event together."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.waiters import Waiters


class WaitersTests(SynchronousTestCase):
    """Everyone waits for the same event."""

    def setUp(self) -> None:
        """Nobody waits."""
        self.waiters: Waiters[int] = Waiters()

    def test_fire(self) -> None:
        """All who wait get the value, and none is left."""
        one, other = self.waiters.wait(), self.waiters.wait()
        self.assertEqual(len(self.waiters), 2)
        self.waiters.fire(7)
        self.assertEqual((self.successResultOf(one), self.successResultOf(other)), (7, 7))
        self.assertEqual(len(self.waiters), 0)

    def test_fail(self) -> None:
        """All who wait get the error."""
        waiting = [self.waiters.wait(), self.waiters.wait()]
        self.waiters.fail(ValueError("no"))
        for waiter in waiting:
            self.failureResultOf(waiter, ValueError)

    def test_cancel(self) -> None:
        """A waiter that is cancelled leaves; the others still get the value."""
        one, other = self.waiters.wait(), self.waiters.wait()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.waiters.fire(1)
        self.assertEqual(self.successResultOf(other), 1)

    def test_cancel_while_firing(self) -> None:
        """One who is cancelled by another's callback gets nothing more."""
        one, other = self.waiters.wait(), self.waiters.wait()
        one.addCallback(lambda _: other.cancel())
        self.waiters.fire(1)
        self.failureResultOf(other, CancelledError)

    def test_wait_again(self) -> None:
        """A waiter that waits again in a callback waits for the next event."""
        again = self.waiters.wait().addCallback(lambda _: self.waiters.wait())
        self.waiters.fire(1)
        self.assertNoResult(again)
        self.waiters.fire(2)
        self.assertEqual(self.successResultOf(again), 2)
