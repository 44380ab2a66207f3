"""Inspections of a store that hangs end in time, and leave the reads of clients alone."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.storage.interfaces import StoreUnavailable
from tests.unit.storage.test_guard import KEY, LIMITS, GuardTestCase


class Inspecting(GuardTestCase):
    """Objects that are inspected."""

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(self.guard.put(KEY, b"data"))

    def inspected(self) -> Any:
        """Return an object whose reads hang."""
        found = self.successResultOf(self.guard.inspect(KEY))
        assert found is not None
        return found

    def test_working(self) -> None:
        """What needs no waiting is passed on, and leaves no timer."""
        found = self.inspected()
        self.assertEqual(b"at", self.successResultOf(found.read(1, 2)))
        self.assertTrue(self.successResultOf(found.withdraw(None)))
        found.close()
        self.assertIsNone(self.successResultOf(self.guard.inspect(KEY)))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_hanging(self) -> None:
        """Opening and reading have the deadline of a listing, and no number of misses opens the breaker."""
        found = self.inspected()
        found._inspected.read = lambda *_: Deferred()
        for _ in range(5):
            said = self.misses(lambda: found.read(0, 4), LIMITS.listing)
            self.assertEqual("the store at /x did not answer within 60 s (read)", said)
        self.slow.hanging.add("inspect")
        for _ in range(5):
            self.misses(lambda: self.guard.inspect(KEY), LIMITS.listing)
        self.assertEqual(b"data", self.successResultOf(self.guard.get(KEY, 10)))

    def test_breaker_open(self) -> None:
        """While the breaker of the reads is open, nothing is inspected."""
        found = self.inspected()
        self.open_reads()
        calls = len(self.slow.calls)
        for call in (lambda: self.guard.inspect(KEY), lambda: found.read(0, 4)):
            self.failureResultOf(call(), StoreUnavailable)
        self.assertEqual(calls, len(self.slow.calls))

        async def listed() -> list[str]:
            return [info.key async for info in self.guard.list_from("blobs", "")]

        self.failureResultOf(Deferred.fromCoroutine(listed()), StoreUnavailable)
        self.guard.stop()
