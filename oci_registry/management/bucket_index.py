"""The index of a bucket that other daemons write to as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.on_demand import OnDemand
from oci_registry.account.queries import Query
from oci_registry.management.problems import NotReady

T = TypeVar("T")


@frozen
class Freshness:
    """The limits for the age of answers, in seconds.

    *age*: how long the result of a listing is used, or *multiple* times the duration of the listing if
    that is longer. *wait*: how long a question waits for a listing; *longest*: the same if there is no
    answer without it.
    """

    age: float = 10.0
    multiple: float = 20.0
    wait: float = 5.0
    longest: float = 240.0


class BucketIndex:
    """An account that lists the bucket before it answers, unless it did so recently.

    *kept*: the account of the limit, if this daemon maintains it; else *asked* is used.
    """

    is_shared = True

    def __init__(
        self,
        kept: Callable[[], Account | None],
        asked: OnDemand,
        clock: IReactorTime,
        freshness: Freshness = Freshness(),
    ) -> None:
        self._kept = kept
        self._asked = asked
        self._clock = clock
        self._freshness = freshness
        self._is_whole = False

    async def ask(self, query: Query[T]) -> T:
        """Return the result of *query*."""
        account = await self._account()
        try:
            return await account.ask(query)
        except AccountOff as error:
            raise NotReady(f"the index of the bucket cannot be used at present: {error}") from None

    async def flush(self) -> None:
        """Wait until all changes of this daemon until now are in the index."""
        account = self._kept() or self._asked.running
        if account is not None:
            await account.flush()
        self._is_whole = account is not None and account.is_complete

    async def catch_up(self, *, entirely: bool = False) -> None:
        """Wait a few seconds until the changes of others are in the index.

        *entirely*: wait longer, and raise `NotReady` if that is not enough. Raises it also if the
        bucket cannot be read.
        """
        account = await self._account()
        await account.flush()
        if not self._is_fresh(account):
            seconds = self._freshness.longest if entirely else self._freshness.wait
            listing = Deferred.fromCoroutine(account.compare())
            try:
                await listing.addTimeout(seconds, self._clock)
            except DeferredTimeout:
                if entirely:
                    raise NotReady(
                        f"the bucket is being listed, which takes more than {seconds:g} s: try again later"
                    ) from None
            except AccountOff as error:
                raise NotReady(
                    f"the index of the bucket cannot be used at present: {error}"
                ) from None
            if account.state is not None and account.state.problem is not None:
                raise NotReady(f"the bucket cannot be listed: {account.state.problem}")
        await self.flush()

    def _is_fresh(self, account: Account) -> bool:
        last = account.compared
        if last is None or not account.is_complete:
            return False
        taken, limits = last.ended - last.began, self._freshness
        return self._clock.seconds() - last.ended <= max(limits.age, limits.multiple * taken)

    async def _account(self) -> Account:
        return self._kept() or await self._asked.account()

    @property
    def is_whole(self) -> bool:
        """Whether everything that was stored at the last wait is in the index."""
        return self._is_whole

    @property
    def counts_pulls(self) -> bool:
        """Whether the index has the numbers of pulls."""
        return self._kept() is not None
