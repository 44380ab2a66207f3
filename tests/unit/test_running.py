"""Coroutines as tests."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.daemon import running


class Running(SynchronousTestCase):
    """What trial sees of one, and what its time limit does."""

    def setUp(self) -> None:
        self.event: Deferred[None] = Deferred()
        self.seen: list[str] = []

    @running
    async def wait(self) -> None:
        try:
            await self.event
        except CancelledError:
            self.seen.append("cancelled")
            raise
        self.seen.append("went on")

    def test_end(self) -> None:
        """A test ends when its coroutine does."""
        outcome = self.wait()
        self.assertNoResult(outcome)
        self.event.callback(None)
        self.assertIsNone(self.successResultOf(outcome))
        self.assertEqual(["went on"], self.seen)

    def test_failure(self) -> None:
        """What it raises is the failure of the test."""
        outcome = self.wait()
        self.event.errback(ValueError("wrong"))
        self.failureResultOf(outcome, ValueError)

    def test_time_limit(self) -> None:
        """At the time limit it ends too, whatever happens to what it has waited for."""
        outcome = self.wait()
        # As trial does it.
        outcome.errback(TimeoutError("still running"))
        self.failureResultOf(outcome, TimeoutError)
        self.assertEqual(["cancelled"], self.seen)
        self.event.callback(None)
        self.assertEqual(["cancelled"], self.seen)
