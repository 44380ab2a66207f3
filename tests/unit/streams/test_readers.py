"""Which readers of a blob are dropped when upstream is delayed."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.readers import Readers

STALL = 10.0


class FakeFollower:
    """A reader somewhere, who may be waiting for more bytes."""

    def __init__(self, position: int, *, waiting: bool) -> None:
        self.position = position
        self.waiting = waiting
        self.dropped = False

    def drop(self) -> None:
        """Note it."""
        self.dropped = True


class Stalled(SynchronousTestCase):
    """Upstream has been delayed for a while."""

    def dropped(self, *followers: FakeFollower) -> list[bool]:
        """Return who of them is dropped."""
        clock = Clock()
        readers = Readers(clock, STALL)
        for follower in followers:
            added: Any = follower
            readers.add(added)
        readers.watch_for_stall(True)
        clock.advance(STALL)
        readers.watch_for_stall(False)
        self.assertEqual([], clock.getDelayedCalls())
        return [follower.dropped for follower in followers]

    def test_slowest(self) -> None:
        """The slowest is dropped if another one waits for more."""
        slow, fast = FakeFollower(5, waiting=False), FakeFollower(9, waiting=True)
        self.assertEqual([True, False], self.dropped(slow, fast))

    def test_nobody_waits(self) -> None:
        """If nobody waits, nobody is dropped."""
        slow, fast = FakeFollower(5, waiting=False), FakeFollower(9, waiting=False)
        self.assertEqual([False, False], self.dropped(slow, fast))

    def test_hashing_is_behind(self) -> None:
        """A reader that waits for bytes that are not hashed yet is not dropped, however far behind it is."""
        slow, fast = FakeFollower(5, waiting=False), FakeFollower(5, waiting=True)
        self.assertEqual([True, False], self.dropped(slow, fast))
        alone = FakeFollower(5, waiting=True)
        self.assertEqual([False], self.dropped(alone))
