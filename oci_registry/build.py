"""The object graph of one daemon, from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.account.account import Account
from oci_registry.admin.api import ApiParts
from oci_registry.admin.daemon import DaemonParts, upstream_of
from oci_registry.admin.making import make_admin, reload_all
from oci_registry.admin.pulls import PullEvents, record_eviction
from oci_registry.admin.scrubbing import ScrubHandlers, scrub_routes
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.tagging import TagHandlers, tag_routes
from oci_registry.admin.token import AdminToken
from oci_registry.config.settings import HostSettings, S3Settings, Settings, UpstreamSettings
from oci_registry.config.sources import Reread, reread_upstreams
from oci_registry.events import EventLog
from oci_registry.eviction.limit import StoreLimit
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.eviction.pinned import PinnedImages
from oci_registry.eviction.sweep import Sweep
from oci_registry.lifecycle import Step
from oci_registry.log_output import Output
from oci_registry.logs import AccessLog
from oci_registry.makers import Makers, Pool, Sizes
from oci_registry.metrics import Metrics
from oci_registry.notify import Announcement, ServiceManager
from oci_registry.pullthrough.background import Background
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.download import Downloader
from oci_registry.pullthrough.holding import Holding
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.prefetch import Prefetcher
from oci_registry.pullthrough.progress import DownloadLog
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_watch import StoreWatch
from oci_registry.pullthrough.tag_control import NotPossible, TagControl
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.warmer import Warmer
from oci_registry.reload import Following, Reloader, lifetimes_of, pins_of, sizes_of
from oci_registry.repeats import RepeatLog
from oci_registry.scrub.healing import Stores
from oci_registry.scrub.making import make_scrub
from oci_registry.scrub.mender import OriginMender
from oci_registry.scrub.scrub import Scrub
from oci_registry.serving import make_ports, make_site, make_workers, socket_steps
from oci_registry.spec.routes import (
    BlobRoute,
    HistoryRoute,
    ManifestRoute,
    ReferrersRoute,
    TagsRoute,
)
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.repositories import Repositories
from oci_registry.stores import (
    Store,
    account_steps,
    make_limit,
    make_management,
    make_store,
    make_sweep,
    make_tag_control,
)
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.steps import Pause, pauses
from oci_registry.streams.threads import Lanes, RunInThread
from oci_registry.upstream.late import LateConnector
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.blobs import BlobHandler
from oci_registry.web.catalog import CatalogHandler
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.history import HistoryHandler
from oci_registry.web.lists import ReferrersHandler, TagsHandler
from oci_registry.web.manifests import ManifestHandler
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.reply import Handler
from oci_registry.web.site import RegistrySite
from oci_registry.web.v2 import V2

if TYPE_CHECKING:
    from oci_registry.upstream.connecting import Connector

SHORTEST_STOP = 5.0
"""Seconds after the grace period in which aborted connections must have closed."""
LAST_COMMITS = 60.0
"""Seconds in which complete downloads are committed when the daemon stops."""
LAST_RECORDS = 15.0
"""Seconds in which records of manifests and tags are written; their writer gives up earlier."""


@frozen
class Parts:
    """The parts of a daemon.

    *steps* start and stop all of them, in order. *ports* listen before privileges are dropped.
    *driver* is the driver itself, without the deadlines of `GuardedDriver`. *store_started*: why it
    cannot be used, None if it can. *account*, *limit*: None for a bucket without a limit.
    """

    steps: Sequence[Step]
    metrics: Metrics
    driver: IDriver
    store_started: Deferred[str | None]
    account: Account | None
    limit: StoreLimit | None
    lanes: Lanes
    transfers: Transfers
    warmer: Warmer
    records: RecordWriter
    tag_control: TagControl
    sweep: PeriodicSweep
    scrub: Scrub
    site: RegistrySite
    events: EventLog
    streams: EventStreams
    ports: MultiService


@frozen
class _PullThrough:
    """The caches, one for each kind of content, and their background work."""

    watch: StoreWatch
    limit: StoreLimit | None
    records: RecordWriter
    known: KnownManifests
    holding: Holding
    transfers: Transfers
    blobs: BlobCache
    manifests: ManifestCache
    sizes: KnownSizes
    tag_lists: TagLists
    referrers: ReferrersLists
    background: Background
    prefetcher: Prefetcher


@frozen
class _Builder:
    """Makes the parts of one daemon."""

    settings: Settings
    reactor: Any
    makers: Makers
    metrics: Metrics
    access_log: AccessLog
    answers: ReadyAnswers | None
    repeats: RepeatLog
    events: EventLog
    pools: list[Pool] = field(factory=list)
    store_started: Deferred[str | None] = field(factory=Deferred)

    _log = Logger()

    @property
    def pause(self) -> Pause:
        """Pauses in long work."""
        return pauses(self.reactor)

    def pool(self, name: str, threads: int) -> Pool:
        """Make a pool of threads that is started and stopped with the daemon."""
        self.pools.append(self.makers.pool(self.reactor, name, threads))
        return self.pools[-1]

    def table(self, reader: ManifestReader, importing: RunInThread) -> UpstreamTable:
        """Make the table of upstreams, which makes an upstream when it is first used."""
        settings = self.settings

        def host_at(origin: str) -> HostSettings | None:
            # The table and the connector need each other.
            return table.host_at(origin)

        def make_connector() -> Connector:
            # Not needed before a miss, which imports it in a thread.
            from oci_registry.upstream.connecting import Connector  # noqa: PLC0415

            return Connector(
                self.reactor,
                SystemRandom().random,
                settings.egress,
                self.metrics,
                self.repeats,
                reader,
                host_at,
                self.makers.upstream_limits,
            )

        connector = LateConnector(make_connector, importing, self.metrics, offline=settings.offline)
        table = UpstreamTable(
            settings.upstreams,
            connector.connect,
            connector.share,
            default_namespace=settings.default_namespace,
            dynamic=settings.allow_dynamic_upstreams,
        )
        return table

    def pull_through(self, store: Store) -> _PullThrough:
        """Make the caches."""
        clock, metrics, sizes = self.reactor, self.metrics, KnownSizes()
        health = self.makers.store_health(clock, metrics)
        downloader = Downloader(
            store.blobs,
            store.lanes.ingest,
            clock,
            health,
            sizes,
            metrics,
            DownloadLog(clock, self.repeats, events=self.events),
            self.makers.transfer_limits,
        )
        transfers = Transfers(downloader)
        limit = make_limit(
            self.settings, clock, self.makers, metrics, store, transfers.__contains__
        )
        if limit is not None:
            downloader.room = limit
            health.full = limit.full
        records = RecordWriter(clock, health)
        holding = Holding(store.holds, clock, health)
        known = KnownManifests(
            store.manifests,
            store.tags,
            records,
            clock,
            health,
            store.originals,
            store.histories,
            holding,
        )
        blobs = BlobCache(store.blobs, transfers, sizes, health, metrics, self.makers.far_limits)
        manifests = ManifestCache(known, sizes, clock, metrics, self.repeats)
        background = Background(manifests, blobs, clock)
        prefetcher = Prefetcher(background, blobs, health, metrics, clock, self.pause)
        if limit is not None:
            prefetcher.room = limit
        return _PullThrough(
            StoreWatch(store.driver, health, metrics, clock),
            limit,
            records,
            known,
            holding,
            transfers,
            blobs,
            manifests,
            sizes,
            TagLists(store.tags, health, self.repeats),
            ReferrersLists(store.referrers, store.manifests, records, clock, health, self.repeats),
            background,
            prefetcher,
        )

    def scrub(
        self, store: Store, pull: _PullThrough, table: UpstreamTable, reader: ManifestReader
    ) -> Scrub:
        """Make the scrub, which looks for corrupt content."""
        stores = Stores(store.driver, store.blobs, store.manifests, store.tags, store.referrers)
        mender = OriginMender(
            store.account,
            table,
            pull.transfers,
            pull.manifests,
            pull.sizes,
            store.blobs,
            self.reactor,
        )
        return make_scrub(
            self.settings,
            self.reactor,
            self.metrics,
            stores,
            store.lanes.housekeeping,
            reader,
            mender,
            self.makers.scrub_limits,
        )

    def v2(
        self,
        table: UpstreamTable,
        pull: _PullThrough,
        watch: ClientWatch,
        control: TagControl,
        repositories: Repositories,
    ) -> V2:
        """Make the distribution API."""
        storage = self.settings.storage
        handlers: dict[type, Handler] = {
            ManifestRoute: ManifestHandler(pull.manifests, pull.background, pull.prefetcher.pulled),
            BlobRoute: BlobHandler(
                pull.blobs,
                pull.background,
                redirect=isinstance(storage, S3Settings) and storage.redirect,
                redirect_ranges=isinstance(storage, S3Settings) and storage.redirect_ranges,
            ),
            TagsRoute: TagsHandler(pull.tag_lists),
            ReferrersRoute: ReferrersHandler(pull.referrers),
            HistoryRoute: HistoryHandler(control),
        }
        catalog = CatalogHandler(repositories, table.mirrors)
        return V2(handlers, table, watch, self.reactor, self.metrics, self.answers, catalog)

    def reloader(
        self,
        table: UpstreamTable,
        sweep: Sweep,
        pinned: PinnedImages,
        limit: StoreLimit | None,
        reading: RunInThread,
        manager: ServiceManager,
    ) -> Reloader:
        """Make the reloader of the upstreams."""
        lifetimes = partial(lifetimes_of, offline=self.settings.offline)

        def follow(upstreams: tuple[UpstreamSettings, ...]) -> None:
            pinned.follow(pins_of(upstreams))
            sizes = sizes_of(upstreams)
            if limit is not None:
                limit.upstreams.follow(sizes)
            elif sizes:
                self._log.warn(
                    "max_size of {namespaces} needs a restart: the bucket had no limit so far",
                    namespaces=", ".join(sizes),
                )

        following = Following(table, self.metrics, sweep.follow, lifetimes, self.pause, follow)

        def reread() -> Deferred[Reread]:
            return reading(reread_upstreams, self.settings)

        return Reloader(reread, following.configure, self.metrics, manager)

    def start_pools(self) -> None:
        """Start all threads."""
        for pool in self.pools:
            pool.start()

    def stop_pools(self) -> None:
        """Stop all threads except those that hang in the store."""
        hanging = sum(not pool.stop() for pool in self.pools)
        if hanging:
            self._log.warn(
                "threads of {pools} thread pools hang and were not stopped", pools=hanging
            )

    def start_driver(self, driver: IDriver) -> None:
        """Prepare the store; if it is broken, pulls go on uncached."""
        started = driver.start().addCallbacks(lambda _: None, self._store_is_broken)
        started.chainDeferred(self.store_started)

    def _store_is_broken(self, failure: Failure) -> str:
        self.metrics.error("store")
        error = failure.getErrorMessage()
        self._log.error("the store cannot be used, pulls are not cached: {error}", error=error)
        return error


def build(
    settings: Settings,
    reactor: Any,
    log_output: Output,
    *,
    notify_socket: str | None = None,
    makers: Makers = Makers(),  # noqa: B008 - it is frozen
) -> Parts:
    """Return the parts of a daemon for *settings*; nothing happens before they are started.

    *log_output*: where the access log goes. *notify_socket*: where the service manager listens.
    """
    sizes = Sizes()
    if isinstance(settings.storage, S3Settings):
        sizes = Sizes.for_connections(settings.storage.connections)
    metrics = Metrics(upstream.namespace for upstream in settings.upstreams)
    repeats = RepeatLog(Logger("oci_registry.upstream"), reactor)
    access_log = makers.access_log(settings, log_output, reactor)
    ready = ReadyAnswers(reactor, access_log, metrics)
    answers = None if settings.plain_http else ready
    events = EventLog(reactor, reactor.callFromThread)
    builder = _Builder(settings, reactor, makers, metrics, access_log, answers, repeats, events)
    manager = makers.manager(notify_socket)
    reader = ManifestReader(builder.pool("parsers", sizes.parsers))
    store = make_store(settings, reactor, makers, metrics, repeats, builder.pool, sizes, reader)
    reading = builder.pool("configuration", sizes.configuration)
    table = builder.table(reader, reading)
    pull = builder.pull_through(store)
    watch, limit = ClientWatch(reactor), pull.limit
    control = make_tag_control(store, table, pull.known, pull.manifests, reactor)
    v2 = builder.v2(table, pull, watch, control, Repositories(store.driver))
    warmer = Warmer(table.upstream, pull.background, pull.blobs, reader, reactor, builder.pause)
    site, make_root = make_site(
        settings, v2, pull.watch, access_log, answers, metrics, repeats, builder.pause, reactor
    )
    transports = {} if settings.plain_http else makers.transports
    sweep = make_sweep(settings, reactor, metrics, store, pull.transfers)
    if limit is not None:
        limit.keep_forever(sweep.is_forever)
        limit.tell(partial(record_eviction, events))
    scrub = builder.scrub(store, pull, table, reader)
    periodic = PeriodicSweep(sweep, store.driver.sweep_interval, reactor, metrics, events)
    pulls = PullEvents(events, access_log)
    streams = EventStreams(events, watch, reactor)
    token = None if settings.admin_token is None else AdminToken(settings.admin_token)
    told = DaemonParts(
        reactor,
        metrics,
        pull.transfers,
        table,
        periodic,
        events,
        settings.storage.description,
        settings.workers,
        pull.watch.check,
    )
    management, management_steps = make_management(
        settings,
        reactor,
        store,
        pull.records,
        pull.transfers,
        sweep,
        table,
        partial(upstream_of, table),
    )
    parts = ApiParts(watch, reactor, metrics)
    admin = make_admin(
        make_root,
        told,
        management,
        settings,
        streams,
        token,
        parts,
        access_log,
        repeats,
        lambda parse: [
            *tag_routes(TagHandlers(control, parse, NotPossible, events)),
            *scrub_routes(ScrubHandlers(scrub)),
        ],
    )
    ports = make_ports(settings, site, admin, transports, reactor)
    workers = make_workers(
        settings, site, ports, metrics, log_output, reactor, pulls.sent_by_worker
    )
    reloader = builder.reloader(table, sweep, store.pinned, limit, reading, manager)
    react = reload_all(settings, reloader.reload, token, reading)
    hangup = makers.hangup(reactor.callFromThread, react)
    announcement = Announcement(manager, reactor)
    grace = settings.shutdown_grace
    steps = [
        # Before anything else: if a command is changing the store, nothing is started.
        *makers.lock_steps(settings.storage),
        # Before the others, so that it is removed last: without it a SIGHUP would kill a stopping process.
        Step("SIGHUP handler", hangup.install, hangup.remove),
        Step("access log", stop=access_log.stop),
        Step("events", events.start, events.stop),
        Step("upstream warnings", stop=repeats.stop),
        Step("threads", builder.start_pools, builder.stop_pools),
        # Nothing is stored any more when it stops.
        *account_steps(store.account, store.holder, builder.store_started),
        Step("upstreams", stop=table.close),
        # Everything that uses the store comes after it, and so stops before it.
        Step("store", lambda: builder.start_driver(store.driver), store.driver.stop),
        *management_steps,
        Step("background writes", stop=pull.records.stop, stop_timeout=LAST_RECORDS),
        Step("holds of tags", pull.holding.start, pull.holding.stop),
        Step("transfers", stop=pull.transfers.stop, stop_timeout=LAST_COMMITS),
        Step("manifests", stop=pull.manifests.stop),
        Step("slow client check", watch.start, watch.stop),
        Step(
            "connections",
            stop=lambda: gatherResults(
                [
                    each.close(grace)
                    for each in (site, admin.local, admin.guarded, workers)
                    if each is not None
                ]
            ),
            stop_timeout=grace + SHORTEST_STOP,
        ),
        Step("event streams", stop=streams.stop),
        # Before connections have their time to end: nobody waits for these.
        Step("prefetch", stop=pull.prefetcher.stop),
        Step("warming", stop=warmer.stop),
        *([] if limit is None else [Step("limits of the store", limit.start, limit.stop)]),
        Step("sweep", periodic.start, periodic.stop),
        Step("scrub", scrub.open, scrub.close),
        Step("ports", ports.startService, ports.stopService),
        *(socket_steps(settings, admin, reactor) if makers.store_socket else []),
        *([] if workers is None else [Step("workers", workers.start)]),
        Step("reloader", stop=reloader.stop),
        Step("service manager", announcement.start, announcement.stop),
    ]
    return Parts(
        steps,
        metrics,
        store.medium,
        builder.store_started,
        store.account,
        limit,
        store.lanes,
        pull.transfers,
        warmer,
        pull.records,
        control,
        periodic,
        scrub,
        site,
        events,
        streams,
        ports,
    )
