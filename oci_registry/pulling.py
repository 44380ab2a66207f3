"""Makes the parts that serve pulls: the table of upstreams, the caches, and the distribution API."""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING

from attrs import frozen

from oci_registry.common import Common
from oci_registry.config.settings import HostSettings, S3Settings
from oci_registry.eviction.limit import StoreLimit
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
from oci_registry.pullthrough.remembered_platforms import RememberedPlatforms
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_watch import StoreWatch
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.warmer import Warmer
from oci_registry.spec.routes import (
    BlobRoute,
    HistoryRoute,
    ManifestRoute,
    ReferrersRoute,
    TagsRoute,
)
from oci_registry.storage.platforms import PlatformStore
from oci_registry.storage.repositories import Repositories
from oci_registry.stores import Store, make_limit
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import RunInThread
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
from oci_registry.web.v2 import V2

if TYPE_CHECKING:
    from oci_registry.upstream.connecting import Connector


@frozen
class PullThrough:
    """The upstreams, the caches, one for each kind of content, and their background work.

    *limit*: None for a bucket without a limit.
    """

    table: UpstreamTable
    store_watch: StoreWatch
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
    warmer: Warmer


def _make_table(common: Common, reader: ManifestReader, importing: RunInThread) -> UpstreamTable:
    """Make the table of upstreams, which makes each upstream at its first use."""
    settings = common.settings
    names = common.pools.add("names", common.sizes.names)

    def host_at(origin: str) -> HostSettings | None:
        # The table and the connector need each other.
        return table.host_at(origin)

    def make_connector() -> Connector:
        # Not needed before the first miss, which imports it in a thread.
        from oci_registry.upstream.connecting import Connector  # noqa: PLC0415

        return Connector(
            common.reactor,
            common.makers.resolver(common.reactor, names),
            SystemRandom().random,
            settings.egress,
            common.metrics,
            common.repeats,
            reader,
            host_at,
            common.makers.upstream_limits,
        )

    connector = LateConnector(make_connector, importing, common.metrics, offline=settings.offline)
    table = UpstreamTable(
        settings.upstreams,
        connector.connect,
        connector.share,
        default_namespace=settings.default_namespace,
        dynamic=settings.allow_dynamic_upstreams,
    )
    return table


def make_pull_through(
    common: Common, store: Store, reader: ManifestReader, importing: RunInThread
) -> PullThrough:
    """Make the upstreams and the caches. *importing*: the thread in which modules are imported."""
    clock, metrics, makers, repeats = common.reactor, common.metrics, common.makers, common.repeats
    table = _make_table(common, reader, importing)
    health, sizes = makers.store_health(clock, metrics), KnownSizes()
    downloader = Downloader(
        store.blobs,
        store.lanes.ingest,
        clock,
        health,
        sizes,
        metrics,
        DownloadLog(clock, repeats, events=common.events),
        makers.transfer_limits,
    )
    transfers = Transfers(downloader)
    records = RecordWriter(clock, health)
    holding = Holding(store.holds, clock, health, makers.hold_interval)
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
    blobs = BlobCache(store.blobs, transfers, sizes, health, metrics, makers.far_limits)
    manifests = ManifestCache(known, sizes, clock, metrics, repeats)
    background = Background(manifests, blobs, clock)
    platforms = RememberedPlatforms(PlatformStore(store.driver), records, health, clock)
    prefetcher = Prefetcher(background, blobs, platforms, health, metrics, clock, common.pause)
    limit = make_limit(common, store, transfers.__contains__)
    if limit is not None:
        downloader.room = prefetcher.room = limit
        health.full = limit.full
    return PullThrough(
        table,
        StoreWatch(store.driver, health, metrics, clock),
        limit,
        records,
        known,
        holding,
        transfers,
        blobs,
        manifests,
        sizes,
        TagLists(store.tags, health, repeats),
        ReferrersLists(store.referrers, store.manifests, records, clock, health, repeats),
        background,
        prefetcher,
        Warmer(table.upstream, background, blobs, reader, clock, common.pause),
    )


def make_v2(
    common: Common,
    store: Store,
    pull: PullThrough,
    control: TagControl,
    watch: ClientWatch,
    answers: ReadyAnswers | None,
) -> V2:
    """Make the distribution API."""
    storage = common.settings.storage
    handlers: dict[type, Handler] = {
        ManifestRoute: ManifestHandler(
            pull.manifests, pull.background, pull.prefetcher.pulled, common.metrics.pulls
        ),
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
    catalog = CatalogHandler(Repositories(store.driver), pull.table.mirrors)
    return V2(handlers, pull.table, watch, common.reactor, common.metrics, answers, catalog)
