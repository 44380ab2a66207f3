"""An account that runs only while it is queried."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from oci_registry.account.account import Account

IDLE = 1800.0
"""Seconds without a query after which it is stopped."""


class OnDemand:
    """Runs *account* from the first query until *idle* seconds after the last one.

    Its file stays, which shortens the next start.
    """

    _log = Logger()

    def __init__(self, account: Account, clock: IReactorTime, idle: float = IDLE) -> None:
        self._account = account
        self._clock = clock
        self._idle = idle
        self._runs = False
        self._closed = False
        self._turn = DeferredLock()
        self._end: IDelayedCall | None = None

    @property
    def running(self) -> Account | None:
        """The account, if it is running."""
        return self._account if self._runs else None

    async def account(self) -> Account:
        """Return the account, which has been started."""
        if self._end is not None and self._end.active():
            self._end.reset(self._idle)
        elif not self._closed:
            self._end = self._clock.callLater(self._idle, self._rest)
        await self._turn.run(self._begin)
        return self._account

    def _begin(self) -> None:
        if not (self._runs or self._closed):
            self._runs = True
            self._log.info("an index of the bucket is made and kept up, to answer questions")
            self._account.start()

    def _rest(self) -> None:
        self._turn.run(lambda: Deferred.fromCoroutine(self._stop()))

    async def _stop(self) -> None:
        asked = self._end is not None and self._end.active()
        if self._runs and not asked:
            self._runs = False
            await self._account.stop()

    async def stop(self) -> None:
        """Close the account permanently."""
        self._closed = True
        if self._end is not None and self._end.active():
            self._end.cancel()
        await self._turn.run(lambda: Deferred.fromCoroutine(self._stop()))
