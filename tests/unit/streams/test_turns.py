"""A few calls at a time for each key."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.turns import Turns


class TurnsTestCase(SynchronousTestCase):
    """Two at a time."""

    def setUp(self) -> None:
        self.turns = Turns(2)
        self.begun: list[tuple[str, Deferred[int]]] = []

    def begin(self, name: str) -> Deferred[int]:
        """Begin a call that ends when the test says so."""
        work: Deferred[int] = Deferred()
        self.begun.append((name, work))
        return work

    def names(self) -> list[str]:
        """Return which calls have begun."""
        return [name for name, _ in self.begun]

    def test_order(self) -> None:
        """Calls of a key wait for its earlier ones, whatever their results; others do not."""
        results = [self.turns.run("a", partial(self.begin, f"a{n}")) for n in range(4)]
        self.turns.run("b", partial(self.begin, "b"))
        self.assertEqual(["a0", "a1", "b"], self.names())
        self.begun[1][1].callback(7)
        self.assertEqual(7, self.successResultOf(results[1]))
        self.assertEqual(["a0", "a1", "b", "a2"], self.names())
        self.begun[0][1].errback(KeyError("x"))
        self.failureResultOf(results[0], KeyError)
        self.assertEqual("a3", self.names()[-1])

    def test_raises(self) -> None:
        """A call that raises fails, and gives its turn to the next one."""

        def broken() -> Deferred[int]:
            raise KeyError("x")

        for _ in range(3):
            self.failureResultOf(self.turns.run("a", broken), KeyError)
        self.assertEqual(3, self.successResultOf(self.turns.run("a", lambda: succeed(3))))

    def test_many(self) -> None:
        """Thousands that are over as soon as they begin need no deep stack, and nothing is kept of them."""
        for n in range(2):
            self.turns.run("a", partial(self.begin, f"a{n}"))
        results = [self.turns.run("a", lambda: succeed(3)) for _ in range(5000)]
        for _, work in self.begun:
            work.callback(0)
        self.assertEqual({3}, {self.successResultOf(each) for each in results})
        self.assertEqual(
            ({}, {}, set()), (self.turns._running, self.turns._waiting, self.turns._advancing)
        )
