"""The claim of the replica that limits a bucket."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.eviction.holder import Holder
from oci_registry.storage.interfaces import StoreError


class FakeAccount:
    """Notes whether it was started and stopped."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    async def stop(self) -> None:
        self.told.append("stop")


class FakeClaim:
    """A claim that is had, or not."""

    def __init__(self) -> None:
        self.result: bool | StoreError = True
        self.asked = 0
        self.released = 0

    def hold(self) -> Deferred[bool]:
        self.asked += 1
        return fail(self.result) if isinstance(self.result, StoreError) else succeed(self.result)

    def release(self) -> Deferred[None]:
        self.released += 1
        return succeed(None)


class Holding(SynchronousTestCase):
    """A claim that comes and goes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.account: Any = FakeAccount()
        self.claim = FakeClaim()
        self.holder = Holder(self.account, self.claim, self.clock)

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.holder.stop()))

    def test_held(self) -> None:
        """The account is started once, and the claim is repeated and given up in the end."""
        self.holder.start()
        self.clock.pump([60] * 3)
        self.assertEqual((self.holder.is_held, self.claim.asked), (True, 4))
        self.assertEqual(self.account.told, ["start"])
        self.stop()
        self.clock.pump([60] * 3)
        self.assertEqual(
            (self.holder.is_held, self.claim.asked, self.claim.released), (False, 4, 1)
        )
        self.assertEqual(self.account.told, ["start", "stop"])

    def test_held_by_another(self) -> None:
        """While another replica has it, the account is not used; nor is its claim given up."""
        self.claim.result = False
        self.holder.start()
        self.assertEqual(self.account.told, [])
        self.claim.result = True
        self.clock.advance(60)
        self.claim.result = False
        self.clock.advance(60)
        self.assertEqual(self.account.told, ["start", "stop"])
        self.stop()
        self.assertEqual(self.claim.released, 0)

    def test_failing(self) -> None:
        """If the claim cannot be repeated, it is held until others may have claimed it."""
        self.holder.start()
        self.claim.result = StoreError("gone")
        self.clock.pump([60] * 3)
        self.assertTrue(self.holder.is_held)
        self.clock.advance(60)
        self.assertEqual(self.account.told, ["start", "stop"])
        self.stop()

    def test_failing_at_first(self) -> None:
        """A claim that has failed is logged once, and repeated soon, then more and more seldom."""
        self.claim.result = StoreError("gone")
        with capturedLogs() as logged:
            self.holder.start()
            for seconds, asked in ((4, 1), (1, 2), (9, 2), (1, 3), (44, 4), (1, 5)):
                self.clock.advance(seconds)
                self.assertEqual(asked, self.claim.asked)
            self.claim.result = True
            self.clock.advance(60)
        texts = [formatEvent(event) for event in logged]
        self.assertEqual(1, sum("cannot claim the bucket" in text for text in texts), texts)
        self.assertTrue(self.holder.is_held)
        self.claim.result = StoreError("gone")
        self.clock.advance(60)
        self.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
