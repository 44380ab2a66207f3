"""Answers that are kept for a moment."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.page.kept import Deadlines, Found, Kept
from oci_registry.admin.problems import Unavailable


class Keeping(SynchronousTestCase):
    """A question that takes as long as the test wants."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[str]] = []
        self.kept = Kept(self.ask, self.clock, 5.0, Deadlines(shown=1.0, work=10.0))

    async def ask(self) -> str:
        self.asked.append(Deferred())
        return await self.asked[-1]

    def get(self) -> Deferred[Found[str]]:
        return Deferred.fromCoroutine(self.kept.get())

    def test_once(self) -> None:
        """All who ask at the same time, and shortly afterwards, get one answer."""
        waiting = [self.get() for _ in range(3)]
        self.asked[0].callback("a")
        for each in [*waiting, self.get()]:
            self.assertEqual("a", self.successResultOf(each).answer)
        self.assertEqual(1, len(self.asked))
        self.clock.advance(5.0)
        again = self.get()
        self.asked[1].callback("b")
        self.assertEqual(Found("b", 5.0), self.successResultOf(again))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_slow(self) -> None:
        """What takes too long for one page is there for the next one."""
        waiting = self.get()
        self.clock.advance(1.0)
        self.failureResultOf(waiting, Unavailable)
        self.asked[0].callback("a")
        self.assertEqual("a", self.successResultOf(self.get()).answer)
        self.assertEqual(1, len(self.asked))

    def test_older(self) -> None:
        """While a new answer takes too long, the older one is good enough."""
        first = self.get()
        self.asked[0].callback("a")
        self.successResultOf(first)
        self.clock.advance(60.0)
        waiting = self.get()
        self.clock.advance(1.0)
        self.assertEqual(Found("a", 0.0), self.successResultOf(waiting))

    def test_given_up(self) -> None:
        """A question without an answer is given up, and asked again."""
        waiting = self.get()
        self.clock.advance(1.0)
        self.failureResultOf(waiting, Unavailable)
        self.clock.advance(10.0)
        self.get()
        self.assertEqual(2, len(self.asked))
        self.asked[1].callback("b")

    def test_failing(self) -> None:
        """All who wait get the error, which is not kept; nor is what was known before."""
        first = self.get()
        self.asked[0].callback("a")
        self.successResultOf(first)
        self.clock.advance(6.0)
        waiting = [self.get(), self.get()]
        self.asked[1].errback(ValueError("x"))
        for each in waiting:
            self.failureResultOf(each, ValueError)
        again = self.get()
        self.asked[2].callback("c")
        self.assertEqual("c", self.successResultOf(again).answer)

    def test_leaving(self) -> None:
        """A caller that leaves stops nothing."""
        leaving, staying = self.get(), self.get()
        leaving.addErrback(lambda _: None)
        leaving.cancel()
        self.asked[0].callback("a")
        self.assertEqual("a", self.successResultOf(staying).answer)
