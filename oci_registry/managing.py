"""What looks after a store beside pulls: the sweep, the scrub, what operators ask and change, the admin API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from attrs import evolve, frozen

from oci_registry.admin.api import ApiParts
from oci_registry.admin.daemon import DaemonParts, upstream_of
from oci_registry.admin.making import Admin, make_admin
from oci_registry.admin.pulls import record_eviction
from oci_registry.admin.routes import AnyRoute
from oci_registry.admin.scrubbing import ScrubHandlers, scrub_routes
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.tagging import TagHandlers, tag_routes
from oci_registry.admin.token import AdminToken
from oci_registry.common import Common
from oci_registry.config.settings import S3Settings
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.eviction.sweep import Sweep
from oci_registry.lifecycle import Step
from oci_registry.management.index import DaemonIndex
from oci_registry.management.manager import Management
from oci_registry.management.notices import NoticeFollower, Notices
from oci_registry.management.removal import Content
from oci_registry.management.rules import Rules
from oci_registry.pulling import PullThrough
from oci_registry.pullthrough.tag_control import NotPossible, TagControl
from oci_registry.scrub.healing import Stores
from oci_registry.scrub.making import make_scrub
from oci_registry.scrub.mender import OriginMender
from oci_registry.scrub.scrub import Scrub
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.storage.pins import Pins
from oci_registry.stores import Store, make_sweep
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream.table import Target
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.root import Root


@frozen
class Upkeep:
    """What looks after a store.

    *periodic* repeats the *sweep*. *management* answers questions about the store, and changes it.
    *follower*: learns what other daemons have removed; None without others.
    """

    sweep: Sweep
    periodic: PeriodicSweep
    scrub: Scrub
    tag_control: TagControl
    management: Management
    follower: NoticeFollower | None

    def follower_steps(self) -> list[Step]:
        """Return how the *follower* starts and stops."""
        if self.follower is None:
            return []
        return [Step("notices of other daemons", self.follower.start, self.follower.stop)]


def make_upkeep(common: Common, store: Store, pull: PullThrough, reader: ManifestReader) -> Upkeep:
    """Make what looks after a store, and have the limit go by it."""
    sweep = make_sweep(common, store, pull.transfers)
    if pull.limit is not None:
        pull.limit.keep_forever(sweep.is_forever)
        pull.limit.tell(partial(record_eviction, common.events))
    interval = store.driver.sweep_interval
    management, follower = _make_management(common, store, pull, sweep)
    return Upkeep(
        sweep,
        PeriodicSweep(sweep, interval, common.reactor, common.metrics, common.events),
        _make_scrub(common, store, pull, reader),
        _make_tag_control(common, store, pull),
        management,
        follower,
    )


def _make_scrub(common: Common, store: Store, pull: PullThrough, reader: ManifestReader) -> Scrub:
    """Make the scrub, which looks for corrupt content."""
    stores = Stores(store.driver, store.blobs, store.manifests, store.tags, store.referrers)
    mender = OriginMender(
        store.account,
        pull.table,
        pull.transfers,
        pull.manifests,
        pull.sizes,
        store.blobs,
        common.reactor,
    )
    return make_scrub(
        common.settings,
        common.reactor,
        common.metrics,
        stores,
        store.lanes.housekeeping,
        reader,
        mender,
        common.makers.scrub_limits,
    )


def _make_tag_control(common: Common, store: Store, pull: PullThrough) -> TagControl:
    """Make what looks at tags, and changes what is served for them."""
    table, manifests = pull.table, pull.manifests

    async def obtain(host: str, repository: str, digest: Digest) -> Manifest:
        return (await manifests.get(Target(table.upstream(host), repository), digest)).manifest

    def min_age(host: str, repository: str, tag: str) -> float | None:
        return table.upstream(host).min_age.of(repository, tag) if table.mirrors(host) else None

    now = common.reactor.seconds
    return TagControl(store.tags, store.histories, store.holds, pull.known, obtain, min_age, now)


def _make_management(
    common: Common, store: Store, pull: PullThrough, sweep: Sweep
) -> tuple[Management, NoticeFollower | None]:
    """Make what answers questions about the store, and what follows other daemons on a bucket."""
    settings, table = common.settings, pull.table

    def max_age(registry: str) -> float | None:
        known = table.known(registry)
        return None if known is None else known.manifest_invalidation_time

    rules = Rules(
        lifetime=sweep.lifetime,
        max_age=max_age,
        limited=settings.max_size is not None or settings.min_free is not None,
        pinned=store.pinned.by_pattern,
        busy=pull.transfers.__contains__,
        upstream=partial(upstream_of, table),
    )
    content = Content(store.driver, store.blobs, store.manifests, store.tags, pull.records)
    follower = None
    if isinstance(settings.storage, S3Settings):
        notices = Notices(store.driver, common.reactor)
        content = evolve(content, announce=notices.announce)
        follower = NoticeFollower(notices, store.tags, store.manifests, common.reactor)
    index, pins = DaemonIndex(store.account), Pins(store.driver)
    return Management(index, content, pins, rules, common.reactor.seconds), follower


def make_admin_sites(
    common: Common,
    pull: PullThrough,
    upkeep: Upkeep,
    watch: ClientWatch,
    token: AdminToken | None,
    make_root: Callable[[], Root],
) -> Admin:
    """Make the admin sites. *make_root*: as for `make_admin`."""
    settings, events = common.settings, common.events
    told = DaemonParts(
        common.reactor,
        common.metrics,
        pull.transfers,
        pull.table,
        upkeep.periodic,
        events,
        settings.storage.description,
        settings.workers,
        pull.store_watch.check,
    )

    def further(parse: Callable[[str], ImageName]) -> Iterable[AnyRoute]:
        tags = TagHandlers(upkeep.tag_control, parse, NotPossible, events)
        return [*tag_routes(tags), *scrub_routes(ScrubHandlers(upkeep.scrub))]

    return make_admin(
        make_root,
        told,
        upkeep.management,
        settings,
        EventStreams(events, watch, common.reactor),
        token,
        ApiParts(watch, common.reactor, common.metrics),
        common.access_log,
        common.repeats,
        further,
    )
