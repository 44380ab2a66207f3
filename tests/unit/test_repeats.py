"""Warnings that come again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.repeats import INTERVAL, Group, RepeatLog

HUB = Group("docker.io", 3)
QUAY = Group("quay.io", 3)


class World:
    """A log under a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.log = RepeatLog(Logger("x", observer=self.events.append), self.clock)

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def warn(self, reason: str = "down", group: Group = HUB) -> None:
        self.log.warn(group, (reason,), "{host}: it is {reason}", host=group.name, reason=reason)


class Repeats(SynchronousTestCase):
    """What is logged, and when."""

    def setUp(self) -> None:
        self.world = World()

    def test_once(self) -> None:
        """A warning is logged at once; what comes once leaves nothing behind."""
        self.world.warn()
        self.assertEqual(["docker.io: it is down"], self.world.lines)
        self.world.clock.advance(INTERVAL)
        self.assertEqual(1, len(self.world.lines))
        self.assertEqual(([], 0), (self.world.clock.getDelayedCalls(), len(self.world.log)))

    def test_again(self) -> None:
        """Repetitions are counted, and logged in one line a minute for as long as there are any."""
        for _ in range(38):
            self.world.warn()
        self.world.clock.advance(INTERVAL - 1)
        self.assertEqual(1, len(self.world.lines))
        self.world.clock.advance(1)
        self.assertEqual(
            ["docker.io: it is down (37 more in the last minute)"], self.world.lines[1:]
        )
        self.world.warn()
        self.assertEqual(2, len(self.world.lines))
        self.world.clock.advance(INTERVAL)
        self.assertEqual(
            ["docker.io: it is down (1 more in the last minute)"], self.world.lines[2:]
        )
        self.world.clock.advance(INTERVAL)
        self.assertEqual((3, 0), (len(self.world.lines), len(self.world.log)))
        self.world.warn()
        self.assertEqual(4, len(self.world.lines))

    def test_distinct(self) -> None:
        """Warnings with other reasons, or of other groups, are logged for themselves."""
        for reason in ("down", "slow", "down"):
            self.world.warn(reason)
        self.world.clock.advance(30)
        self.world.warn(group=QUAY)
        self.world.warn(group=QUAY)
        self.assertEqual(3, len(self.world.lines))
        self.world.clock.advance(30)
        self.assertEqual(
            ["docker.io: it is down (1 more in the last minute)"], self.world.lines[3:]
        )
        self.world.clock.advance(30)
        self.assertEqual(["quay.io: it is down (1 more in the last minute)"], self.world.lines[4:])

    def test_flood(self) -> None:
        """Endless distinct warnings of a group make few lines, and leave other groups alone."""
        for number in range(1000):
            self.world.warn(str(number))
        self.world.warn(group=QUAY)
        self.assertEqual(4, len(self.world.lines))
        self.assertEqual(5, len(self.world.log))
        self.world.clock.advance(INTERVAL)
        self.assertEqual(
            ["docker.io: other failures (997 more in the last minute)"],
            self.world.lines[4:],
        )
        self.world.warn("new")
        self.assertEqual("docker.io: it is new", self.world.lines[-1])

    def test_stop(self) -> None:
        """In the end what has been counted is logged, no timer is left, and none is begun."""
        for _ in range(3):
            self.world.warn()
        self.world.log.stop()
        self.assertEqual(
            ["docker.io: it is down (2 more in the last minute)"], self.world.lines[1:]
        )
        self.world.warn()
        self.assertEqual("docker.io: it is down", self.world.lines[-1])
        self.assertEqual([], self.world.clock.getDelayedCalls())

    def test_clock_set_back(self) -> None:
        """A clock that is set back delays a count by no more than a minute."""
        self.world.clock.advance(10_000)
        self.world.warn()
        self.world.warn()
        self.world.clock.rightNow -= 5_000
        self.world.warn("slow")
        (call,) = self.world.clock.getDelayedCalls()
        call.reset(0)
        self.world.clock.advance(0)
        self.assertIn("docker.io: it is down (1 more in the last minute)", self.world.lines)

    @given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0.0, 1.0, 30.0, 60.0]))))
    def test_bounded(self, steps: list[tuple[int, float]]) -> None:
        """Whatever comes, nothing is lost, and the table and the lines stay within their bounds."""
        world = World()
        for reason, pause in steps:
            world.warn(str(reason))
            world.clock.advance(pause)
            self.assertLessEqual(len(world.log), HUB.most + 1)
        minutes = int(world.clock.seconds() // INTERVAL) + 1
        self.assertLessEqual(len(world.lines), minutes * 2 * (HUB.most + 1))
        world.log.stop()
        counted = sum(event.get("repeated", 1) for event in world.events)
        self.assertEqual(len(steps), counted)
