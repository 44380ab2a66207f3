"""The object graph of one daemon, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, Protocol

from attrs import field, frozen
from twisted.application.service import MultiService
from twisted.application.strports import service as listening
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.config.settings import (
    DEFAULT_INVALIDATION_TIME,
    HostSettings,
    S3Settings,
    Settings,
)
from oci_registry.config.sources import Reread, reread_upstreams
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.eviction.sweep import Sweep
from oci_registry.lifecycle import Step
from oci_registry.logs import build_access_log
from oci_registry.metrics import Metrics
from oci_registry.notify import Announcement, ServiceManager
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.trouble import StoreTrouble
from oci_registry.reload import Following, Hangup, Reloader, lifetimes_of
from oci_registry.spec.routes import BlobRoute, ManifestRoute, ReferrersRoute, TagsRoute
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers import driver_class
from oci_registry.storage.guard import GuardedDriver
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import Lanes, RunInThread, Workers
from oci_registry.upstream.connecting import Connector
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.blobs import BlobHandler
from oci_registry.web.lists import ReferrersHandler, TagsHandler
from oci_registry.web.manifests import ManifestHandler
from oci_registry.web.patience import Patience
from oci_registry.web.reply import Handler
from oci_registry.web.root import Ready, Root
from oci_registry.web.site import RegistrySite
from oci_registry.web.v2 import V2

BACKLOG = 1024
"""Connections that may wait to be accepted; Twisted's own default is 50."""
SHORTEST_STOP = 5.0
"""Seconds beyond the grace period in which connections that were cut off must be gone."""
LAST_COMMITS = 60.0
"""Seconds in which downloads that have arrived whole are committed when the daemon stops."""

LAST_RECORDS = 15.0
"""Seconds in which the records of manifests and tags are written; their writer gives up before."""


class Pool(RunInThread, Protocol):
    """Threads that are started and stopped."""

    def start(self) -> None:
        """Accept work."""

    def stop(self) -> bool:
        """Finish what was submitted, and end the threads; return whether they are gone."""


@frozen
class Sizes:
    """How many threads each pool has.

    *lookup*: for what a client waits for in the store. *begin*: begin new objects. *ingest*: hash and
    append downloads. *commit*: put objects in their place, which on some disks takes seconds.
    *housekeeping*: listings, deletions and checks. *parsers*: hash and parse large manifests, and do
    nothing that can hang. *configuration*: read files of the configuration.
    """

    lookup: int = 8
    begin: int = 2
    ingest: int = 4
    commit: int = 4
    housekeeping: int = 2
    parsers: int = 2
    configuration: int = 1

    @classmethod
    def for_connections(cls, connections: int) -> Sizes:
        """Return as many threads as there may be connections to a bucket: each waits for an answer."""
        housekeeping = max(1, connections // 8)
        commit = max(1, connections * 3 // 8)
        lookup = max(1, connections - commit - housekeeping)
        return cls(lookup=lookup, commit=commit, housekeeping=housekeeping)


def _make_driver(settings: Settings, lanes: Lanes, reactor: Any) -> IDriver:
    storage = settings.storage
    if isinstance(storage, S3Settings):
        return driver_class("s3")(storage, lanes, reactor)
    return driver_class("filesystem")(storage.root, lanes, reactor)


def _make_access_log(settings: Settings, reactor: Any) -> Any:
    return build_access_log(settings.log_level, settings.log_format, settings.access_log, reactor)


@frozen
class Makers:
    """How the parts are made that reach out of the process: tests make others."""

    pool: Callable[[Any, str, int], Pool] = Workers
    driver: Callable[[Settings, Lanes, Any], IDriver] = _make_driver
    access_log: Callable[[Settings, Any], Any] = _make_access_log
    hangup: Callable[[Callable[..., object], Callable[[], None]], Any] = Hangup
    manager: Callable[[str | None], ServiceManager] = ServiceManager


@frozen
class Parts:
    """What a daemon is made of.

    *steps* start and stop all of it, in order. *ports* listen before privileges are given up.
    *driver* is the one that reaches the medium, without deadlines around it.
    """

    steps: Sequence[Step]
    metrics: Metrics
    driver: IDriver
    lanes: Lanes
    transfers: Transfers
    records: RecordWriter
    sweep: PeriodicSweep
    site: RegistrySite
    ports: MultiService


@frozen
class _Store:
    """Everything that is kept, and the threads that keep it."""

    medium: IDriver
    driver: GuardedDriver
    lanes: Lanes
    blobs: BlobStore
    manifests: ManifestStore
    tags: TagStore
    referrers: ReferrersStore


@frozen
class _PullThrough:
    """What a mirror does: one class for each kind of content."""

    records: RecordWriter
    transfers: Transfers
    blobs: BlobCache
    manifests: ManifestCache
    tag_lists: TagLists
    referrers: ReferrersLists


@frozen
class _Builder:
    """Makes the parts of one daemon."""

    settings: Settings
    reactor: Any
    makers: Makers
    metrics: Metrics
    pools: list[Pool] = field(factory=list)

    _log = Logger()

    def pool(self, name: str, threads: int) -> Pool:
        """Make a pool of threads, to be started and stopped with the daemon."""
        self.pools.append(self.makers.pool(self.reactor, name, threads))
        return self.pools[-1]

    def store(self, sizes: Sizes, reader: ManifestReader) -> _Store:
        """Make what keeps content."""
        lanes = Lanes(
            lookup=self.pool("lookup", sizes.lookup),
            ingest=self.pool("ingest", sizes.ingest),
            commit=self.pool("commit", sizes.commit),
            housekeeping=self.pool("housekeeping", sizes.housekeeping),
            begin=self.pool("begin", sizes.begin),
        )
        medium = self.makers.driver(self.settings, lanes, self.reactor)
        driver = GuardedDriver(medium, self.settings.storage.description, self.reactor)
        usage = Usage(driver, self.reactor)
        check_always = self.settings.check_cache_digest
        return _Store(
            medium,
            driver,
            lanes,
            BlobStore(driver, usage, lanes.housekeeping, check_always=check_always),
            ManifestStore(driver, usage, reader),
            TagStore(driver),
            ReferrersStore(driver, usage),
        )

    def table(self, reader: ManifestReader) -> UpstreamTable:
        """Make the table of upstreams, which makes each upstream when it is first needed."""
        settings = self.settings

        def host_at(origin: str) -> HostSettings | None:
            # The table is made with the connector, which asks it.
            return table.host_at(origin)

        connector = Connector(
            self.reactor,
            SystemRandom().random,
            settings.egress,
            self.metrics,
            reader,
            host_at,
        )
        table = UpstreamTable(
            settings.upstreams,
            connector.connect,
            connector.share,
            default_namespace=settings.default_namespace,
            dynamic=settings.allow_dynamic_upstreams,
        )
        return table

    def pull_through(self, store: _Store) -> _PullThrough:
        """Make what downloads, revalidates and serves."""
        clock, metrics, sizes = self.reactor, self.metrics, KnownSizes()
        trouble = StoreTrouble(clock, metrics)
        transfers = Transfers(store.blobs, store.lanes.ingest, clock, trouble, sizes, metrics)
        records = RecordWriter(clock, trouble)
        known = KnownManifests(store.manifests, store.tags, records, clock, trouble)
        return _PullThrough(
            records,
            transfers,
            BlobCache(store.blobs, transfers, sizes, trouble, metrics),
            ManifestCache(known, sizes, clock, metrics),
            TagLists(store.tags, trouble),
            ReferrersLists(store.referrers, store.manifests, records, clock, trouble),
        )

    def v2(self, table: UpstreamTable, pull: _PullThrough, patience: Patience) -> V2:
        """Make the distribution API."""
        storage = self.settings.storage
        handlers: dict[type, Handler] = {
            ManifestRoute: ManifestHandler(pull.manifests),
            BlobRoute: BlobHandler(
                pull.blobs,
                redirect=isinstance(storage, S3Settings) and storage.redirect,
                redirect_ranges=isinstance(storage, S3Settings) and storage.redirect_ranges,
            ),
            TagsRoute: TagsHandler(pull.tag_lists),
            ReferrersRoute: ReferrersHandler(pull.referrers),
        }
        return V2(handlers, table, patience, self.reactor, self.metrics)

    def sites(self, v2: V2, store: _Store) -> tuple[RegistrySite, RegistrySite]:
        """Make what answers connections: of clients, and of those who watch the daemon."""
        settings, metrics = self.settings, self.metrics
        access_log = self.makers.access_log(settings, self.reactor)
        ready = Ready(store.driver.check, self.reactor)
        root = Root(ready, metrics=None if settings.admin_listen else metrics, v2=v2)
        site = RegistrySite(root, self.reactor, access_log)
        metrics.watch_connections(site.connection_count)
        return site, RegistrySite(Root(ready, metrics=metrics), self.reactor, access_log)

    def ports(self, site: RegistrySite, admin_site: RegistrySite) -> MultiService:
        """Make the listening ports."""
        ports = MultiService()
        for endpoints, factory in (
            (self.settings.listen, site),
            (self.settings.admin_listen, admin_site),
        ):
            for endpoint in endpoints:
                port = listening(_with_backlog(endpoint), factory, self.reactor)
                port.setServiceParent(ports)
        return ports

    def sweep(self, store: _Store, transfers: Transfers) -> Sweep:
        """Make what removes content that is no longer used."""
        return Sweep(
            store.blobs,
            store.manifests,
            store.tags,
            store.referrers,
            lifetimes_of(self.settings.upstreams, DEFAULT_INVALIDATION_TIME),
            store.driver.begin_sweep,
            transfers.__contains__,
            self.reactor.seconds,
            self.metrics,
        )

    def reloader(
        self, table: UpstreamTable, sweep: Sweep, reading: RunInThread, manager: ServiceManager
    ) -> Reloader:
        """Make what reads the upstreams again."""
        following = Following(table, self.metrics, sweep.follow, DEFAULT_INVALIDATION_TIME)

        def reread() -> Deferred[Reread]:
            return reading(reread_upstreams, self.settings)

        return Reloader(reread, following.configure, self.metrics, manager)

    def start_pools(self) -> None:
        """Start all threads."""
        for pool in self.pools:
            pool.start()

    def stop_pools(self) -> None:
        """End all threads, but those that hang in the store."""
        hanging = sum(not pool.stop() for pool in self.pools)
        if hanging:
            self._log.warn("threads that hang are left behind, in {pools} pools", pools=hanging)

    def start_driver(self, driver: IDriver) -> None:
        """Prepare the store. It may be broken or empty: pulls then go on uncached."""
        driver.start().addErrback(self._store_is_broken)

    def _store_is_broken(self, failure: Failure) -> None:
        self.metrics.error("store")
        self._log.error(
            "the store is not usable, pulls are not cached: {error}",
            error=failure.getErrorMessage(),
        )


def build(
    settings: Settings,
    reactor: Any,
    *,
    notify_socket: str | None = None,
    makers: Makers = Makers(),
) -> Parts:
    """Return the parts of a daemon for *settings*; nothing happens before they are started.

    *notify_socket*: where the service manager listens.
    """
    sizes = Sizes()
    if isinstance(settings.storage, S3Settings):
        sizes = Sizes.for_connections(settings.storage.connections)
    metrics = Metrics(upstream.namespace for upstream in settings.upstreams)
    builder = _Builder(settings, reactor, makers, metrics)
    manager = makers.manager(notify_socket)
    reader = ManifestReader(builder.pool("parsers", sizes.parsers))
    store = builder.store(sizes, reader)
    table = builder.table(reader)
    pull = builder.pull_through(store)
    patience = Patience(reactor)
    site, admin_site = builder.sites(builder.v2(table, pull, patience), store)
    ports = builder.ports(site, admin_site)
    sweep = builder.sweep(store, pull.transfers)
    periodic = PeriodicSweep(sweep, store.driver.sweep_interval, reactor, metrics)
    reading = builder.pool("configuration", sizes.configuration)
    reloader = builder.reloader(table, sweep, reading, manager)
    hangup = makers.hangup(reactor.callFromThread, reloader.reload)
    announcement = Announcement(manager, reactor)
    grace = settings.shutdown_grace
    steps = [
        # First, so that it is removed last: left to the system, the signal would end what is being
        # ended in order.
        Step("reaction to SIGHUP", hangup.install, hangup.remove),
        Step("threads", builder.start_pools, builder.stop_pools),
        Step("upstreams", stop=table.close),
        # Whoever stores something comes after it, and so ends before it.
        Step("store", lambda: builder.start_driver(store.driver), store.driver.stop),
        Step("writing of records", stop=pull.records.stop, stop_timeout=LAST_RECORDS),
        Step("transfers", stop=pull.transfers.stop, stop_timeout=LAST_COMMITS),
        Step("manifests", stop=pull.manifests.stop),
        Step("watch over slow clients", patience.start, patience.stop),
        Step(
            "connections",
            stop=lambda: gatherResults([site.close(grace), admin_site.close(grace)]),
            stop_timeout=grace + SHORTEST_STOP,
        ),
        Step("sweep", periodic.start, periodic.stop),
        Step("ports", ports.startService, ports.stopService),
        Step("reloader", stop=reloader.stop),
        Step("service manager", announcement.start, announcement.stop),
    ]
    return Parts(
        steps,
        metrics,
        store.medium,
        store.lanes,
        pull.transfers,
        pull.records,
        periodic,
        site,
        ports,
    )


def _with_backlog(endpoint: str) -> str:
    """Let as many connections wait as a cluster makes when all of it pulls at once."""
    takes_backlog = endpoint.partition(":")[0] in ("tcp", "tcp6", "ssl")
    return (
        f"{endpoint}:backlog={BACKLOG}"
        if takes_backlog and "backlog=" not in endpoint
        else endpoint
    )
