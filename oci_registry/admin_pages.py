"""Makes the pages of the admin API and their data sources; imported at the first request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from oci_registry.account.account import Account
from oci_registry.account.on_demand import OnDemand
from oci_registry.admin.api import Api, ApiParts
from oci_registry.admin.daemon import DaemonHandlers, DaemonParts, upstream_of
from oci_registry.admin.daemon_figures import DaemonFigures, FigureParts
from oci_registry.admin.figures import FigureHandlers, figure_routes
from oci_registry.admin.gate import Gate
from oci_registry.admin.images import ImageHandlers
from oci_registry.admin.late import LatePage, LatePages, MakePages, Pages
from oci_registry.admin.original import Original
from oci_registry.admin.scrubbing import ScrubHandlers, scrub_routes
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.summary import Summaries
from oci_registry.admin.table import daemon_routes, image_routes, make_table
from oci_registry.admin.tagging import TagHandlers, tag_routes
from oci_registry.admin.warming import WarmHandlers, warm_routes
from oci_registry.common import Common
from oci_registry.config.names import fold_alias
from oci_registry.eviction.holder import Holder
from oci_registry.management.bucket_index import BucketIndex, Freshness
from oci_registry.management.index import DaemonIndex, Index
from oci_registry.management.manager import Management
from oci_registry.management.pinned import Pinned
from oci_registry.management.ranking import Ranking
from oci_registry.management.removal import Content
from oci_registry.management.rules import Rules
from oci_registry.managing import API, ORIGINAL, PAGES, ROOT, Upkeep
from oci_registry.pulling import PullThrough
from oci_registry.pullthrough.tag_control import NotPossible
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.stores import Store
from oci_registry.streams.garbage import import_for_good
from oci_registry.streams.steps import pauses
from oci_registry.streams.threads import RunInThread
from oci_registry.web.client_watch import ClientWatch

# Imported late, by its name: programs that use the API need no status page.
_STATUS_PAGE = "oci_registry.admin.page.making"


def make_pages(
    common: Common,
    store: Store,
    pull: PullThrough,
    upkeep: Upkeep,
    watch: ClientWatch,
    streams: EventStreams,
    in_thread: RunInThread,
    changed: Callable[[], None],
) -> MakePages:
    """Return a function that makes the pages behind a gate.

    *in_thread* runs imports, and encodes answers. *changed* is called after each change.
    """
    settings, table, events = common.settings, pull.table, common.events

    def parse(text: str) -> ImageName:
        # Registries in the upstream file whose names are not hosts.
        known = {each.namespace for each in table.upstreams if each.settings.configured}
        return parse_image(
            text, default=settings.default_namespace, registries=known, fold=fold_alias
        )

    told = DaemonParts(
        common.reactor,
        common.metrics,
        pull.transfers,
        table,
        upkeep.periodic,
        events,
        settings.storage.description,
        settings.workers,
        pull.store_watch.check,
    )
    daemon = DaemonHandlers(told)
    figures = _make_figures(common, store, pull, upkeep, daemon, watch)
    Summaries(events, common.reactor, figures.summary)

    images = ImageHandlers(make_management(common, store, pull, upkeep), parse, events)
    tags = TagHandlers(upkeep.tag_control, parse, NotPossible, events)
    routes = make_table(
        [
            *daemon_routes(daemon, streams),
            *figure_routes(FigureHandlers(figures)),
            *image_routes(images),
            *tag_routes(tags),
            *scrub_routes(ScrubHandlers(upkeep.scrub)),
            *warm_routes(WarmHandlers(pull.warmer, parse, events)),
        ]
    )
    parts = ApiParts(watch, common.reactor, common.metrics, run=in_thread, changed=changed)

    def begin() -> MakePages:
        made: MakePages = import_module(_STATUS_PAGE).make_status_pages(
            routes, parts, pauses(common.reactor)
        )
        return made

    status = LatePages(partial(import_for_good, _STATUS_PAGE), begin, in_thread)

    def pages(gate: Gate) -> Pages:
        return {
            API: Api(routes, gate, parts),
            ORIGINAL: Original(images, table, gate, parts),
            ROOT: LatePage(status, gate, ROOT),
            PAGES: LatePage(status, gate, PAGES),
        }

    return pages


def make_index(
    account: Account | None,
    holder: Holder | None,
    asked: OnDemand | None,
    clock: IReactorTime,
    freshness: Freshness,
) -> Index:
    """Make the index that answers questions about the store."""
    if asked is None:
        return DaemonIndex(account)

    def kept() -> Account | None:
        return account if holder is not None and holder.is_held else None

    return BucketIndex(kept, asked, clock, freshness)


def make_management(
    common: Common,
    store: Store,
    pull: PullThrough,
    upkeep: Upkeep,
    freshness: Freshness = Freshness(),  # noqa: B008 - frozen
) -> Management:
    """Make the object that answers questions about the store, and changes it."""
    settings, table = common.settings, pull.table

    def max_age(registry: str) -> float | None:
        known = table.known(registry)
        return None if known is None else known.max_age

    rules = Rules(
        lifetime=upkeep.sweep.lifetime,
        max_age=max_age,
        limited=settings.max_size is not None or settings.min_free is not None,
        pinned=store.pinned.by_pattern,
        newest_tags=lambda registry: pull.limit.newest_tags(registry) if pull.limit else 0,
        scarce=lambda registry: registry in table.rate_limited(),
        busy=pull.transfers.__contains__,
        upstream=partial(upstream_of, table),
    )
    content = Content(
        store.driver,
        store.blobs,
        store.manifests,
        store.tags,
        pull.records,
        totals=store.totals,
    )
    if upkeep.notices is not None:
        content = evolve(content, announce=upkeep.notices.announce)
    return Management(
        make_index(store.account, store.holder, store.asked, common.reactor, freshness),
        content,
        store.pinned.pins,
        rules,
        common.reactor.seconds,
        holds=store.holds,
    )


def _make_figures(
    common: Common,
    store: Store,
    pull: PullThrough,
    upkeep: Upkeep,
    daemon: DaemonHandlers,
    watch: ClientWatch,
) -> DaemonFigures:
    """Make the source of the figures."""

    async def pinned() -> Pinned:
        return Pinned(await store.pinned.pins.all(), store.pinned.by_pattern)

    now = common.reactor.seconds
    index = make_index(store.account, store.holder, store.asked, common.reactor, Freshness())
    ranking = Ranking(index, pinned, now)
    return DaemonFigures(
        FigureParts(
            now,
            common.metrics,
            upkeep.activity,
            store.account,
            pull.limit,
            store.driver,
            store.totals,
            ranking,
            daemon.load,
            watch.__len__,
        )
    )
