"""Much that comes all at once, in turns."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.pace import AT_ONCE, Pace


class Reactor(Clock):
    """A clock whose every turn makes the calls that there were before it, as a reactor's does."""

    def turn(self) -> None:
        for call in self.getDelayedCalls():
            self.calls.remove(call)
            call.called = True
            call.func(*call.args, **call.kw)


class Turns(SynchronousTestCase):
    """Work in turns of a reactor."""

    def setUp(self) -> None:
        self.clock = Reactor()
        self.pace = Pace(self.clock)
        self.gone_on: list[int] = []

    def begin(self, *numbers: int) -> list[Deferred[None]]:
        return [self.pace.turn().addCallback(self.go_on, number) for number in numbers]

    def go_on(self, _: None, number: int) -> None:
        self.gone_on.append(number)

    def test_few(self) -> None:
        """A few continue at once, and leave nothing behind."""
        self.begin(*range(AT_ONCE // 2))
        self.assertEqual(list(range(AT_ONCE // 2)), self.gone_on)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_many(self) -> None:
        """Many continue in several turns, in order."""
        self.begin(*range(3 * AT_ONCE))
        for turns in (1, 2, 3):
            self.assertEqual(list(range(turns * AT_ONCE)), self.gone_on)
            self.clock.turn()
        self.clock.turn()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_in_order(self) -> None:
        """A caller that comes in a later iteration goes after those that wait."""
        self.begin(*range(2 * AT_ONCE + 1))
        self.clock.turn()
        self.begin(-1)
        self.clock.turn()
        self.assertEqual([2 * AT_ONCE, -1], self.gone_on[2 * AT_ONCE :])

    def test_a_few_each_turn(self) -> None:
        """What comes in turns of its own does not wait."""
        for turn in range(20):
            self.begin(*range(AT_ONCE // 2))
            self.assertEqual((turn + 1) * AT_ONCE // 2, len(self.gone_on))
            self.clock.turn()

    def test_cancelled(self) -> None:
        """A caller that gives up waiting takes nobody's turn."""
        waiting = self.begin(*range(3 * AT_ONCE))[AT_ONCE:]
        for one in waiting[:AT_ONCE]:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.clock.turn()
        self.assertEqual(2 * AT_ONCE, len(self.gone_on))

    def test_more_while_going_on(self) -> None:
        """Work that leads to more of it does not keep the turn going."""

        def again(_: None) -> Deferred[None]:
            self.gone_on.append(0)
            return self.pace.turn().addCallback(again)

        endless = self.pace.turn().addCallback(again)
        for turn in range(1, 5):
            self.assertEqual(turn * AT_ONCE, len(self.gone_on))
            self.clock.turn()
        endless.addErrback(lambda _: None).cancel()
