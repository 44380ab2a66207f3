"""Evictions that other daemons on the same store learn of."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from oci_registry.eviction.announcements import DELAY, KEYS, MOST, PATIENCE, Announcements
from oci_registry.storage.interfaces import StoreError
from tests.unit.storage.support import StoreTestCase


class Announcing(StoreTestCase):
    """What is announced, and when."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[list[str]] = []
        self.failing = False
        self.announcements = Announcements(self.clock.seconds, self.announce)

    async def announce(self, keys: Sequence[str]) -> None:
        if self.failing:
            raise StoreError("gone")
        self.told.append(list(keys))

    def add(self, *keys: str) -> None:
        for key in keys:
            self.announcements.add(key)
            self.result(self.announcements.send_due())

    def test_gathered(self) -> None:
        """What is evicted within a fifth of a second is announced at once."""
        self.add("a", "b")
        self.assertEqual([], self.told)
        self.clock.advance(DELAY)
        self.add("c")
        self.assertEqual([["a", "b", "c"]], self.told)
        self.add("d")
        self.assertEqual(1, len(self.told))

    def test_many(self) -> None:
        """Ten thousand are few announcements."""
        self.add(*map(str, range(10_000)))
        self.assertEqual(10_000 // KEYS, len(self.told))

    def test_slow(self) -> None:
        """However slow it is, there are five in a second at most."""
        for number in range(100):
            self.add(str(number))
            self.clock.advance(0.01)
        self.assertLessEqual(len(self.told), 1 / DELAY)

    def test_nothing(self) -> None:
        """Nothing is announced once, and without anybody there is nothing to do."""
        self.result(self.announcements.send())
        self.assertEqual([], self.told)
        alone = Announcements(self.clock.seconds)
        alone.add("a")
        self.result(alone.send())
        self.assertEqual(0, len(alone._waiting))

    def test_failing(self) -> None:
        """What could not be announced is announced the next time, in a bounded number."""
        self.failing = True
        self.announcements.add("a")
        self.fails(self.announcements.send(), StoreError)
        for number in range(MOST):
            self.announcements.add(str(number))
        self.fails(self.announcements.send(), StoreError)
        self.failing = False
        self.result(self.announcements.send())
        self.assertEqual([list(map(str, range(MOST)))], self.told)

    def test_under_way(self) -> None:
        """Who sends while others do waits for them, and announces what they could not."""
        gate: Deferred[None] = Deferred()

        async def announce(keys: Sequence[str]) -> None:
            if not gate.called:
                await gate
            await self.announce(keys)

        self.announcements.announce = announce
        self.announcements.add("a")
        first, second = (Deferred.fromCoroutine(self.announcements.send()) for _ in range(2))
        self.assertNoResult(second)
        gate.errback(StoreError("gone"))
        self.failureResultOf(first, StoreError)
        self.successResultOf(second)
        self.assertEqual([["a"]], self.told)

    def test_failing_with_many_more(self) -> None:
        """If so many are added while an announcement fails that it has no room, the newer ones wait."""
        gate: Deferred[None] = Deferred()

        async def announce(_: Sequence[str]) -> None:
            await gate

        self.announcements.announce = announce
        self.announcements.add("old")
        sending = Deferred.fromCoroutine(self.announcements.send())
        for number in range(MOST):
            self.announcements.add(str(number))
        gate.errback(StoreError("gone"))
        self.failureResultOf(sending, StoreError)
        self.assertEqual(list(map(str, range(MOST))), list(self.announcements._waiting))

    def test_failing_for_long(self) -> None:
        """After a minute of failures, evictions go on without; what waits is announced when that works."""
        self.failing = True
        self.announcements.add("a")
        self.fails(self.announcements.send(), StoreError)
        self.clock.advance(PATIENCE - 1)
        self.fails(self.announcements.send(), StoreError)
        self.clock.advance(1)
        self.result(self.announcements.send())
        self.failing = False
        self.result(self.announcements.send())
        self.assertEqual([["a"]], self.told)
        self.failing = True
        self.announcements.add("b")
        self.fails(self.announcements.send(), StoreError)
