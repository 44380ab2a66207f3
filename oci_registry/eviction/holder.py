"""Decides which replica keeps a bucket below its limit: only the holder of a claim has an account."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from oci_registry.account.account import Account
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.breaker import doubled

LASTS = 4
"""Intervals for which a claim counts as held if it cannot be renewed; then others may take it."""
AGAIN = 5.0
"""Seconds until another attempt after a failed one; it doubles each time, up to the interval."""


class Claim(Protocol):
    """A claim that only one replica holds at a time."""

    def hold(self) -> Deferred[bool]:
        """Take or renew the claim; return whether that succeeded. Fails with `StoreError`."""

    def release(self) -> Deferred[None]:
        """Release the claim. Fails with `StoreError`."""


class Holder:
    """Starts and stops *account* with the *claim*, which is renewed every *interval* seconds.

    If the store fails, that is repeated sooner.
    """

    _log = Logger()

    def __init__(
        self, account: Account, claim: Claim, clock: IReactorTime, interval: float = 60.0
    ) -> None:
        self.is_held = False
        """Whether this replica holds the claim."""
        self._account = account
        self._claim = claim
        self._interval = interval
        self._clock = clock
        self._until = 0.0
        self._turn = DeferredLock()
        self._failures = 0
        self._again: IDelayedCall | None = None
        self._looping = LoopingCall(self._look)
        self._looping.clock = clock

    def start(self) -> None:
        """Take the claim now, and try or renew it at each interval."""
        self._looping.start(self._interval)

    async def stop(self) -> None:
        """Release the claim, and close the account."""
        if self._looping.running:
            self._looping.stop()
        if self._again is not None and self._again.active():
            self._again.cancel()
        await self._turn.run(lambda: Deferred.fromCoroutine(self._stop()))

    async def _stop(self) -> None:
        held = self.is_held
        await self._set(held=False)
        if held:
            # Otherwise others would wait until it expires.
            with suppress(StoreError):
                await self._claim.release()

    def _look(self) -> Deferred[None]:
        return self._turn.run(lambda: Deferred.fromCoroutine(self._repeat()))

    async def _repeat(self) -> None:
        if not self._looping.running:
            return
        now = self._clock.seconds()
        try:
            held = await self._claim.hold()
        except CancelledError:
            held = self._may_hold(now)
        except StoreError as error:
            held = self._may_hold(now)
            self._failed(error)
        else:
            self._failures = 0
            self._until = now + LASTS * self._interval
        await self._set(held=held)

    def _may_hold(self, now: float) -> bool:
        return self.is_held and now < self._until

    def _failed(self, error: StoreError) -> None:
        if not self._failures:
            self._log.warn(
                "cannot claim the bucket, which one replica keeps below its limit: {error}",
                error=str(error),
            )
        delay = doubled(AGAIN, self._interval, self._failures)
        self._failures += 1
        waits = self._again is not None and self._again.active()
        if self._looping.running and delay < self._interval and not waits:
            self._again = self._clock.callLater(delay, self._repeat_soon)

    def _repeat_soon(self) -> None:
        self._look().addErrback(
            lambda failure: self._log.failure("the claim of the bucket has failed", failure)
        )

    async def _set(self, *, held: bool) -> None:
        if held and not self.is_held:
            self.is_held = True
            self._log.info("this replica keeps the bucket below its limit")
            self._account.start()
        elif self.is_held and not held:
            self.is_held = False
            await self._account.stop()
