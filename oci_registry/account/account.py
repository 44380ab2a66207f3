"""The account for the rest of the daemon: an index of the store, maintained in its own thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.account.database import (
    AccountDamaged,
    AccountFull,
    AccountOff,
    Database,
    State,
)
from oci_registry.account.queries import Query
from oci_registry.metrics import Metrics
from oci_registry.storage.keys import BLOBS, REPOSITORIES
from oci_registry.storage.totals import StoredTotals, Walk
from oci_registry.streams.in_order import InOrder
from oci_registry.streams.threads import RunInThread
from oci_registry.streams.waiters import Waiters

T = TypeVar("T")
_COUNTED = (f"{BLOBS}/", f"{REPOSITORIES}/")


@frozen
class AccountLimits:
    """Times in seconds, and sizes of batches.

    *interval*: how long changes are collected; *batch*: changes that are written at once, which takes
    some milliseconds; *waiting*: the maximum number of waiting changes; further ones are dropped, and
    found by a comparison. *step*: objects that are compared at once; *pause*: the pause after each
    step, and between two batches. *comparison*: the time between two comparisons with the store;
    *again*: the time until a failed one is repeated, or the file is opened again. It doubles each time
    that the file is found damaged, up to *comparison*. *full*: the time until the file is opened again
    after the disk was full, since an eviction needs the account; it doubles each time, up to *again*.
    """

    interval: float = 1.0
    batch: int = 50
    waiting: int = 50_000
    step: int = 50
    pause: float = 0.002
    comparison: float = 86400.0
    again: float = 60.0
    full: float = 1.0


@frozen
class Comparison:
    """A comparison of the account with the store: when it *began* and *ended*."""

    began: float
    ended: float


class Account:
    """An index of the store, which can be lost at any time.

    Changes are queued here, and written to *database* in batches, in the one thread of *run*. *totals*:
    is kept up to date. While the account is not complete, a comparison with the store goes on in the
    background. If its file cannot be used, the account is off, and opened again later. *metrics*: None
    if the metrics are about another account. *on_demand*: it may be started and stopped several times,
    and ignores changes in between; each start begins a new comparison.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        run: RunInThread,
        clock: IReactorTime,
        totals: StoredTotals,
        metrics: Metrics | None,
        limits: AccountLimits = AccountLimits(),
        *,
        on_demand: bool = False,
    ) -> None:
        self.state: State | None = None
        """None while the account is off, or not yet open."""
        self.compared: Comparison | None = None
        """The latest complete comparison; None: there was none since the start."""
        self._database = database
        self._run = run
        self._clock = clock
        self._totals = totals
        self._metrics = metrics
        self._limits = limits
        self._on_demand = on_demand
        self._waiting: Waiters[None] = Waiters()
        self._began = 0.0
        # An ordered set: keys without values.
        self._changed: dict[str, None] = {}
        self._used: dict[str, float] = {}
        self._lost = False
        self._off: str | None = None
        self._problem = False
        """Whether the latest comparison has failed, and a warning was logged."""
        self._in_order = InOrder()
        self._next: IDelayedCall | None = None
        self._again = limits.again
        self._full = limits.full
        self._due = 0.0
        """When to open the file, or to begin a comparison."""
        self._stopped = True
        self._report(complete=False)

    # -- notifications of the store

    def changed(self, key: str) -> None:
        """Something was stored or removed at *key*, or may have been."""
        if self._stopped and self._on_demand:
            return
        if not key.startswith(_COUNTED):
            # A look at it may cost a request.
            return
        if len(self._changed) >= self._limits.waiting:
            self._lost = True
            return
        self._changed[key] = None

    def used(self, key: str, when: float) -> None:
        """The object at *key* was used at *when*."""
        if self._stopped and self._on_demand:
            return
        # A lost use makes an image look a little older; the sweep checks the store before it removes
        # anything.
        if key in self._used or len(self._used) < self._limits.waiting:
            self._used[key] = max(when, self._used.get(key, 0.0))

    # -- questions

    @property
    def is_off(self) -> bool:
        """Whether the file cannot be used."""
        return self._off is not None

    @property
    def is_complete(self) -> bool:
        """Whether it contains everything that is stored, except for what `flush` would write."""
        return self.state is not None and self.state.complete and not self._lost

    def ask(self, query: Query[T]) -> Deferred[T]:
        """Return the result of *query*; fails with `AccountOff`."""
        return self._in_order.run(lambda: Deferred.fromCoroutine(self._ask(query)))

    async def _ask(self, query: Query[T]) -> T:
        found: list[T] = []
        if self._stopped:
            raise AccountOff("the account is closed")
        await self._call(self._database.ask, query, found.append)
        if not found:
            raise AccountOff(self._off or "the account is being built anew")
        return found[0]

    def flush(self) -> Deferred[None]:
        """Write all changes until now. Never fails."""
        return self._in_order.run(lambda: Deferred.fromCoroutine(self._write_all()))

    # -- work in the thread

    async def compare(self) -> None:
        """Compare the account with the store now, or wait for the comparison that is under way.

        Raises `AccountOff`.
        """
        if self.state is not None:
            await self._in_order.run(
                lambda: Deferred.fromCoroutine(self._call(self._database.begin_comparison))
            )
        if self.state is not None and self.state.comparing:
            if self._next is not None and self._next.active():
                self._next.reset(self._limits.pause)
            await self._waiting.wait()
        if self.state is None:
            raise AccountOff(self._off or "the account is closed")

    def start(self) -> None:
        """Open the file, and process batches from then on."""
        self._stopped = False
        self._due = 0.0
        self._in_order.run(lambda: Deferred.fromCoroutine(self._open())).addErrback(self._crashed)

    async def stop(self) -> None:
        """Write all changes, and close the file."""
        if self._stopped:
            return
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        await self.flush()
        await self._in_order.run(lambda: self._run(self._database.close))
        self.state = None
        self._changed.clear()
        self._used.clear()
        self.compared = None
        self._report(complete=False)
        self._waiting.fire(None)

    async def _open(self) -> None:
        await self._turn()
        self._schedule()

    def _schedule(self) -> None:
        if not self._stopped:
            waiting = len(self._changed) + len(self._used) >= self._limits.batch
            busy = self.state is not None and (self.state.comparing or waiting)
            pause = self._limits.pause if busy else self._limits.interval
            self._next = self._clock.callLater(pause, self._step)

    def _step(self) -> None:
        work = self._in_order.run(lambda: Deferred.fromCoroutine(self._turn()))
        work.addErrback(self._crashed).addBoth(lambda _: self._schedule())

    async def _turn(self) -> None:
        """Open the file, or write a batch and continue a comparison, whichever is due."""
        due = self._clock.seconds() >= self._due
        if self.state is None:
            if due:
                self._due = self._clock.seconds() + self._limits.comparison
                await self._call(self._database.open)
            return
        await self._write()
        if self.state is not None and self.state.comparing:
            await self._call(self._database.compare, self._limits.step)
        elif self.state is not None and due:
            self._due = self._clock.seconds() + self._limits.comparison
            await self._call(self._database.begin_comparison)

    async def _write_all(self) -> None:
        while self.state is not None and (self._changed or self._used):
            await self._write()

    async def _write(self) -> None:
        """Write one batch of changes."""
        if self._lost:
            self._lost = False
            await self._call(self._database.miss)
        changed = list(islice(self._changed, self._limits.batch))
        # Uses come last, since they only count for known objects.
        room = self._limits.batch - len(changed)
        used = list(islice(self._used.items(), room))
        for key in changed:
            del self._changed[key]
        for key, _ in used:
            del self._used[key]
        if self.state is not None:
            await self._call(self._database.apply, changed, used)

    async def _call(self, call: Callable[..., State], *args: object) -> None:
        """Call the database, and act on the state that it returns."""
        try:
            state = await self._run(call, *args)
        except AccountDamaged as error:
            self._turn_off(str(error), self._again)
            self._again = min(2 * self._again, self._limits.comparison)
            return
        except AccountFull as error:
            # What could not be stored has been removed by then.
            self._turn_off(str(error), self._full)
            self._full = min(2 * self._full, self._limits.again)
            return
        except AccountOff as error:
            self._turn_off(str(error))
            return
        if self._off is not None:
            self._off = None
            self._log.info("the account of the store can be used again")
        if self.state is not None and state.built != self.state.built:
            self._log.warn("the account of the store was removed or is damaged: building it anew")
        before, self.state = self.state, state
        self._note_problem(state)
        self._note_comparison(before, state)
        self._report(complete=self.is_complete)
        if self.is_complete:
            self._full = self._limits.full
            self._totals.correct(Walk(state.sums.objects, state.sums.size))
        elif not state.comparing:
            self._due = min(self._due, self._clock.seconds() + self._limits.again)

    def _note_problem(self, state: State) -> None:
        """Log once why the store could not be read by comparisons, until one of them ends."""
        if state.problem is not None and not self._problem:
            self._problem = True
            self._log.warn(
                "the account of the store cannot be completed, it is tried again every {seconds:g} s: {reason}",
                seconds=self._limits.again,
                reason=state.problem,
            )
        elif state.complete:
            self._problem = False

    def _note_comparison(self, before: State | None, state: State) -> None:
        now = self._clock.seconds()
        if state.comparing:
            if before is None or not before.comparing or before.built != state.built:
                self._began = now
            return
        if before is not None and before.comparing and state.complete:
            self.compared = Comparison(self._began, now)
        self._waiting.fire(None)

    def _report(self, *, complete: bool) -> None:
        if self._metrics is not None:
            self._metrics.account_complete.set(complete)

    def _turn_off(self, reason: str, again: float | None = None) -> None:
        again = again or self._limits.again
        if self._off is None:
            if self._metrics is not None:
                self._metrics.error("account")
            self._log.warn(
                "the account of the store cannot be used, it is tried again in {seconds:g} s: {reason}",
                seconds=again,
                reason=reason,
            )
        self._off = reason
        self.state = self.compared = None
        self._report(complete=False)
        self._waiting.fire(None)
        self._due = self._clock.seconds() + again

    def _crashed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the account of the store has failed", failure)
            self._turn_off(failure.getErrorMessage())
