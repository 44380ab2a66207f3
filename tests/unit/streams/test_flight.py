"""One piece of work at a time per key."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.garbage import release_frames


class SingleFlightTests(SynchronousTestCase):
    """Callers that share what they ask for."""

    def setUp(self) -> None:
        self.flights: SingleFlight[str, int] = SingleFlight()
        self.work: list[Deferred[int]] = []

    async def start(self) -> int:
        """Do work that the test ends."""
        self.work.append(Deferred())
        return await self.work[-1]

    def test_shared(self) -> None:
        """However many ask, the work is done once, and each gets the value in a Deferred of its own."""
        waiters = [self.flights.run("a", self.start) for _ in range(3)]
        self.assertEqual((len(self.work), len(self.flights)), (1, 1))
        waiters[0].addCallback(lambda value: value + 1)
        self.work[0].callback(5)
        self.assertEqual([self.successResultOf(w) for w in waiters], [6, 5, 5])
        self.assertEqual(len(self.flights), 0)

    def test_shared_error(self) -> None:
        """An error reaches everyone who waits, and nobody who comes later."""
        waiters = [self.flights.run("a", self.start) for _ in range(3)]
        self.work[0].errback(ValueError("no"))
        for waiter in waiters:
            self.failureResultOf(waiter, ValueError)
        again = self.flights.run("a", self.start)
        self.work[1].callback(1)
        self.assertEqual(self.successResultOf(again), 1)

    def test_error_at_once(self) -> None:
        """What work uses that fails at once is freed when its error is, without the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)

        class Used:
            """Something that a coroutine uses."""

        async def fail(used: Used) -> int:
            raise ValueError(repr(used))

        async def ask(used: Used) -> str:
            try:
                await self.flights.run("a", lambda: fail(used))
            except ValueError as error:
                release_frames(error)
                return str(error)
            return "no error"

        used = Used()
        freed = weakref.ref(used)
        asking = Deferred.fromCoroutine(ask(used))
        del used
        self.assertIn("Used object", self.successResultOf(asking))
        del asking
        self.assertIsNone(freed())

    def test_keys(self) -> None:
        """Different keys have nothing to do with each other."""
        first, second = self.flights.run("a", self.start), self.flights.run("b", self.start)
        self.work[1].callback(2)
        self.assertEqual(self.successResultOf(second), 2)
        self.assertNoResult(first)
        self.work[0].callback(1)
        self.assertEqual(self.successResultOf(first), 1)

    def test_leaving(self) -> None:
        """A caller that cancels leaves alone: the work continues, even for nobody, and can be joined."""
        first, second = self.flights.run("a", self.start), self.flights.run("a", self.start)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.flights.run("a", self.start)
        self.work[0].callback(3)
        self.assertEqual(self.successResultOf(third), 3)
        self.assertEqual(len(self.work), 1)

    def test_at_once(self) -> None:
        """Work that needs no waiting is done at once, whether it succeeds or fails."""

        async def value() -> int:
            return 7

        async def error() -> int:
            raise ValueError("no")

        self.assertEqual(self.successResultOf(self.flights.run("a", value)), 7)
        self.failureResultOf(self.flights.run("a", error), ValueError)
        self.assertEqual(len(self.flights), 0)

    def test_asked_again_on_the_outcome(self) -> None:
        """A caller that asks again on hearing the outcome starts new work."""
        again: list[Deferred[int]] = []
        first, second = (self.flights.run("a", self.start) for _ in range(2))
        first.addCallback(lambda _: again.append(self.flights.run("a", self.start)))
        self.work[0].callback(1)
        self.successResultOf(first)
        self.assertEqual(self.successResultOf(second), 1)
        self.work[1].callback(2)
        self.assertEqual(self.successResultOf(again[0]), 2)

    def test_errors_nobody_waits_for(self) -> None:
        """An error that nobody waits for any more is nobody's."""
        waiter = self.flights.run("a", self.start)
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.work[0].errback(ValueError("no"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_leaving_on_the_outcome_of_another(self) -> None:
        """A caller that leaves because another has heard the outcome keeps nobody from hearing it."""
        for end in (lambda work: work.callback(1), lambda work: work.errback(ValueError("no"))):
            first, second, third = (self.flights.run("a", self.start) for _ in range(3))
            first.addBoth(lambda _: second.cancel())  # noqa: B023
            end(self.work.pop())
            self.failureResultOf(second, CancelledError)
            self.assertTrue(third.called)
            third.addErrback(lambda _: None)

    def test_stop(self) -> None:
        """All work is cancelled, whether somebody waits for it or not, and waited for."""
        end: Deferred[None] = Deferred()

        async def slow() -> int:
            try:
                return await self.start()
            except CancelledError:
                await end
                return 5

        waiting = self.flights.run("a", self.start)
        leaving = self.flights.run("b", self.start)
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        late = self.flights.run("c", slow)
        stopped = Deferred.fromCoroutine(self.flights.stop())
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(all(work.called for work in self.work))
        self.assertNoResult(stopped)
        end.callback(None)
        self.assertEqual(self.successResultOf(late), 5)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flights), 0)

    def test_stop_of_nothing(self) -> None:
        """Where nothing is worked on there is nothing to wait for, and work can begin again."""
        self.successResultOf(Deferred.fromCoroutine(self.flights.stop()))
        again = self.flights.run("a", self.start)
        self.work[0].callback(1)
        self.assertEqual(self.successResultOf(again), 1)
