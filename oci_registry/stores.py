"""Makes the stores of all content, with the account, the limit and the sweep."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.account.account import Account
from oci_registry.account.database import Database
from oci_registry.account.observed import ObservedDriver
from oci_registry.account.on_demand import OnDemand
from oci_registry.account.schema import FILE
from oci_registry.common import Common
from oci_registry.config.settings import S3Settings
from oci_registry.eviction.account_sweep import AccountSweep
from oci_registry.eviction.announcements import Announce
from oci_registry.eviction.evictor import Evictor
from oci_registry.eviction.holder import Holder
from oci_registry.eviction.limit import RESERVE, StoreLimit
from oci_registry.eviction.pinned import PinnedImages
from oci_registry.eviction.store_use import Limits
from oci_registry.eviction.sweep import Sweep
from oci_registry.eviction.tag_upkeep import TagUpkeep
from oci_registry.lifecycle import Step
from oci_registry.metrics import Metrics
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.reload import lifetimes_of, newest_of, pins_of, sizes_of
from oci_registry.spec.digest import Digest
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.guard import GuardedDriver, LostThreads
from oci_registry.storage.histories import HistoryStore
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.original import OriginalManifests
from oci_registry.storage.pins import Pins
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import Lanes


class Preparation:
    """Prepares the store; if it is broken, pulls continue uncached.

    *done* fires with the reason why it cannot be used, None if it can.
    """

    _log = Logger()

    def __init__(self, driver: IDriver, metrics: Metrics) -> None:
        self._driver = driver
        self._metrics = metrics
        self.done: Deferred[str | None] = Deferred()

    def start(self) -> None:
        """Begin."""
        started = self._driver.start().addCallbacks(lambda _: None, self._is_broken)
        started.chainDeferred(self.done)

    def _is_broken(self, failure: Failure) -> str:
        self._metrics.error("store")
        error = failure.getErrorMessage()
        self._log.error("the store cannot be used, pulls are not cached: {error}", error=error)
        return error


@frozen
class Store:
    """The stores of all content, their driver, and its threads.

    *medium* is the driver itself, *driver* the wrapper that the stores use. *pinned*: the pinned images.
    *account*: None for a bucket without a limit. *holder*: None for a directory, and without a limit.
    *asked*: for a bucket only, the account that answers questions while this daemon does not keep its limit.
    """

    medium: IDriver
    driver: GuardedDriver
    preparation: Preparation
    lanes: Lanes
    blobs: BlobStore
    manifests: ManifestStore
    tags: TagStore
    referrers: ReferrersStore
    totals: StoredTotals
    originals: OriginalManifests
    histories: HistoryStore
    holds: HoldStore
    pinned: PinnedImages
    account: Account | None
    holder: Holder | None
    asked: OnDemand | None


SHARED_COMPARISON = 900.0
"""Seconds between two comparisons of an account with a bucket, which others write to."""
SHARED_PAUSE = 0.02
"""Seconds after each step of a comparison with a bucket."""


@frozen
class _SharedAccounts:
    """Makes accounts of a bucket: files in the directory of the spool, which the driver creates."""

    common: Common
    settings: S3Settings
    medium: Any

    def make(self, purpose: str, totals: StoredTotals, metrics: Metrics | None) -> Account:
        """Return an account in a file of its own, in a thread of its own."""
        reactor, limits = self.common.reactor, self.common.makers.account_limits
        place = hashlib.sha256(self.settings.description.encode()).hexdigest()[:16]
        path = os.path.join(self.settings.spool, f"{purpose}-{place}.sqlite")
        limits = evolve(
            limits,
            comparison=min(limits.comparison, SHARED_COMPARISON),
            pause=max(limits.pause, SHARED_PAUSE),
        )
        return Account(
            Database(path, self.medium.medium(), reactor.seconds()),
            self.common.pools.add(purpose, self.common.sizes.account),
            reactor,
            totals,
            metrics,
            limits,
            on_demand=True,
        )


def make_store(common: Common, reader: ManifestReader) -> Store:
    """Make the stores."""
    settings, reactor = common.settings, common.reactor
    makers, metrics = common.makers, common.metrics
    pool, sizes = common.pools.add, common.sizes
    lookup = pool("lookup", sizes.lookup)
    begin = pool("begin", sizes.begin)
    ingest = pool("ingest", sizes.ingest)
    lanes = Lanes(
        lookup=lookup,
        ingest=ingest,
        commit=pool("commit", sizes.commit),
        housekeeping=pool("housekeeping", sizes.housekeeping),
        begin=begin,
    )
    medium = makers.driver(settings, lanes, reactor)
    totals = StoredTotals()
    account: Account | None = None
    holder: Holder | None = None
    asked: OnDemand | None = None
    observed = medium
    if isinstance(settings.storage, S3Settings):
        accounts = _SharedAccounts(common, settings.storage, medium)
        if settings.max_size is not None or sizes_of(settings.upstreams):
            account = accounts.make("account", totals, metrics)
            claim: Any = medium
            holder = Holder(account, claim, reactor, makers.limit_times.claim)
        index = accounts.make("index", StoredTotals(), None)
        observed, asked = ObservedDriver(medium, index), OnDemand(index, reactor)
    # Not for a driver that a test has substituted.
    elif isinstance(medium, FilesystemDriver):
        # Only with a limit, images are evicted when the disk is full.
        limited = settings.max_size is not None or settings.min_free is not None
        database = Database(
            str(medium.path(FILE)), medium, reactor.seconds(), RESERVE if limited else 0
        )
        account = Account(
            database,
            pool("account", sizes.account),
            reactor,
            totals,
            metrics,
            makers.account_limits,
        )
    lost = LostThreads(lookup.replace, begin.replace, ingest.replace)
    driver = GuardedDriver(
        observed if account is None else ObservedDriver(observed, account),
        settings.storage.description,
        reactor,
        makers.store_limits,
        lost,
    )
    usage = Usage(driver, reactor)
    holds = HoldStore(driver)
    metrics.watch_holds(lambda: len(holds))
    metrics.watch_totals(lambda: totals.objects, lambda: totals.size)
    check_always = settings.check_cache_digest
    return Store(
        medium,
        driver,
        Preparation(driver, metrics),
        lanes,
        BlobStore(driver, usage, lanes.housekeeping, totals, check_always=check_always),
        ManifestStore(driver, usage, reader, totals),
        TagStore(driver),
        ReferrersStore(driver, usage),
        totals,
        OriginalManifests(driver, reader, reactor, common.repeats),
        HistoryStore(driver),
        holds,
        PinnedImages(Pins(driver), pins_of(settings.upstreams), holds),
        account,
        holder,
        asked,
    )


def make_limit(common: Common, store: Store, busy: Callable[[Digest], bool]) -> StoreLimit | None:
    """Make the object that keeps the store below its limits; None without an account. *busy*: as for
    `Evictor`.

    It is made even if there is no limit yet: an upstream may get one with a reload.
    """
    if store.account is None:
        return None
    settings, reactor, metrics = common.settings, common.reactor, common.metrics
    evictor = Evictor(
        store.account,
        store.blobs,
        store.manifests,
        store.tags,
        store.pinned,
        busy,
        reactor.seconds,
        metrics,
    )
    limit = StoreLimit(
        store.account,
        evictor,
        store.driver,
        reactor,
        metrics,
        Limits(settings.max_size, settings.min_free),
        common.makers.limit_times,
        shared=store.holder is not None,
    )
    limit.upstreams.follow(sizes_of(settings.upstreams))
    limit.keep_newest(newest_of(settings.upstreams))
    return limit


def make_sweep(
    common: Common, store: Store, transfers: Transfers, announce: Announce | None = None
) -> Sweep:
    """Make the sweep, which evicts content that is no longer used. *announce*: tells other daemons of it."""
    make = Sweep if store.account is None else partial(AccountSweep, store.account)

    def begin(oldest: float) -> Deferred[bool]:
        # The replica that limits a bucket also sweeps it.
        if store.holder is not None and not store.holder.is_held:
            return succeed(False)
        return store.driver.begin_sweep(oldest)

    return make(
        store.blobs,
        store.manifests,
        store.tags,
        store.referrers,
        lifetimes_of(common.settings.upstreams, offline=common.settings.offline),
        begin,
        transfers.__contains__,
        common.reactor.seconds,
        common.metrics,
        store.totals,
        pinned=store.pinned,
        upkeep=TagUpkeep(store.holds, store.histories, store.manifests),
        announce=announce,
    )


def account_steps(store: Store) -> list[Step]:
    """Return the steps of the account, or of its holder, which starts once the store is prepared."""
    part, asked = store.holder or store.account, store.asked
    steps = [] if asked is None else [Step("index", stop=asked.stop)]
    if part is None:
        return steps

    def start(result: str | None) -> str | None:
        part.start()
        return result

    return [*steps, Step("account", lambda: store.preparation.done.addCallback(start), part.stop)]
