"""What happens in a daemon, for those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.events import LONGEST, Event, EventLimits, EventLog


class Recording(SynchronousTestCase):
    """An event log on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.events = EventLog(self.clock, limits=EventLimits(kept=5, errors=2))
        self.heard: list[Event] = []

    def numbers(self, after: int = 0) -> list[int]:
        return [event.number for event in self.events.since(after)]

    def test_bounds(self) -> None:
        """Only the latest events are kept, and the latest errors apart from them."""
        for number in range(3):
            self.events.record("error", text=str(number))
        for _ in range(7):
            self.events.record("pull")
        self.assertEqual([6, 7, 8, 9, 10], self.numbers())
        self.assertEqual([9, 10], self.numbers(8))
        self.assertEqual(["1", "2"], [event.fields["text"] for event in self.events.errors])

    def test_content(self) -> None:
        """A text is one line of bounded length, and the time is that of the clock."""
        self.events.record("error", text="a\nb" + "x" * 2 * LONGEST, times=3)
        (event,) = self.events.since(0)
        text = event.fields["text"]
        assert isinstance(text, str)
        self.assertEqual((100.0, 3), (event.time, event.fields["times"]))
        self.assertTrue(text.startswith("a b"))
        self.assertLess(len(text), LONGEST + 10)

    def test_followers(self) -> None:
        """Each follower hears of the kinds that it wants, until it leaves."""
        leave = self.events.follow(self.heard.append, frozenset({"sweep"}))
        self.events.record("sweep")
        self.events.record("pull")
        leave()
        leave()
        self.events.record("sweep")
        self.assertEqual([1], [event.number for event in self.heard])

    def test_switch(self) -> None:
        """What costs something is switched on while anybody follows it."""
        switched: list[bool] = []
        self.events.costly("pull", switched.append)
        self.events.follow(self.heard.append, frozenset({"sweep"}))
        first = self.events.follow(self.heard.append, frozenset({"pull"}))
        second = self.events.follow(self.heard.append)
        first()
        self.assertEqual([True], switched)
        second()
        self.assertEqual([True, False], switched)

    def test_follower_that_leaves(self) -> None:
        """A follower may leave while it is told of an event."""
        leave: list[Callable[[], None]] = []
        leave.append(self.events.follow(lambda _: leave[0]()))
        self.events.follow(self.heard.append)
        self.events.record("sweep")
        self.assertEqual(1, len(self.heard))


class Observing(SynchronousTestCase):
    """What is logged becomes an event."""

    def setUp(self) -> None:
        self.later: list[Callable[[], None]] = []
        self.events = EventLog(Clock(), self.later.append)
        globalLogPublisher.addObserver(self.events.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.observe)
        self.log = Logger("oci_registry.somewhere")

    def seen(self) -> list[tuple[str, Any]]:
        for call in self.later:
            call()
        self.later.clear()
        return [(event.kind, event.fields["text"]) for event in self.events.since(0)]

    def test_levels(self) -> None:
        """Warnings and errors are events, in the reactor's turn; other lines are not."""
        self.log.info("no event")
        self.log.warn("a {what}", what="warning", digest="sha256:1")
        Logger("twisted.web").error("not ours")
        self.assertEqual([], self.events.since(0))
        self.assertEqual([("error", "a warning")], self.seen())
        fields = self.events.errors[0].fields
        self.assertEqual(("warn", "sha256:1"), (fields["level"], fields["digest"]))

    def test_breakers(self) -> None:
        """A change of a circuit breaker is an event at every level."""
        self.log.emit(LogLevel.info, "upstream {host}: closed", host="h", event_kind="breaker")
        self.assertEqual([("breaker", "upstream h: closed")], self.seen())

    def test_failures(self) -> None:
        """Of a defect only the type is told, and not what was in it."""
        self.log.failure("it failed", Failure(ValueError("secret")))
        self.assertEqual([("error", "it failed: ValueError")], self.seen())
        self.flushLoggedErrors()
