"""Work has its time, and who cancels it gets a cancellation."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.body import BodyError
from oci_registry.upstream.deadline import in_time


class InTimeTests(SynchronousTestCase):
    """Work that fails with an error of its own when it is cancelled."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.work: Deferred[int] = Deferred(lambda d: d.errback(BodyError("given up")))

    def test_result(self) -> None:
        """The result is the work's, a failure too."""
        bounded = in_time(self.work, 5.0, self.clock)
        self.work.callback(7)
        self.assertEqual(7, self.successResultOf(bounded))
        self.assertEqual([], self.clock.getDelayedCalls())
        failing: Deferred[int] = Deferred()
        bounded = in_time(failing, None, self.clock)
        failing.errback(ValueError("x"))
        self.failureResultOf(bounded, ValueError)

    def test_too_late(self) -> None:
        """When its time is over it is cancelled, and fails with a timeout."""
        bounded = in_time(self.work, 5.0, self.clock)
        self.clock.advance(4.9)
        self.assertNoResult(bounded)
        self.clock.advance(0.1)
        self.failureResultOf(bounded, DeferredTimeout)

    def test_cancelled(self) -> None:
        """Cancelled by its caller it fails with a CancelledError, whatever it ended with."""
        for seconds in (5.0, None):
            self.setUp()
            bounded = in_time(self.work, seconds, self.clock)
            bounded.cancel()
            self.failureResultOf(bounded, CancelledError)
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_not_over_when_cancelled(self) -> None:
        """Work that ends only some time after it was cancelled is waited for no longer, however it ends."""
        for outcome in (None, ValueError("x")):
            rest: Deferred[None] = Deferred()

            async def go_on(rest: Deferred[None] = rest) -> int:
                try:
                    return await Deferred()
                except CancelledError:
                    await rest
                    return 7

            work = Deferred.fromCoroutine(go_on())
            bounded = in_time(work, 5.0, self.clock)
            bounded.cancel()
            self.failureResultOf(bounded, CancelledError)
            self.assertNoResult(work)
            rest.callback(None) if outcome is None else rest.errback(outcome)
            self.assertIsNone(self.successResultOf(work))
            self.assertEqual([], self.clock.getDelayedCalls())
