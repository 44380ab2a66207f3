"""The object graph of one daemon, from its settings, and the order in which its parts start and stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from oci_registry.account.account import Account
from oci_registry.account.on_demand import OnDemand
from oci_registry.admin.pulls import PullEvents
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.token import AdminToken
from oci_registry.admin.token_reload import reload_all
from oci_registry.common import Common, make_common
from oci_registry.config.settings import Settings
from oci_registry.events import EventLog
from oci_registry.eviction.limit import StoreLimit
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.lifecycle import Step
from oci_registry.log_output import Output
from oci_registry.makers import Makers
from oci_registry.managing import Upkeep, make_admin_sites, make_management, make_upkeep
from oci_registry.metrics import Metrics
from oci_registry.notify import Announcement
from oci_registry.pulling import PullThrough, make_pull_through, make_v2
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.warmer import Warmer
from oci_registry.reload import Reloader, make_reloader
from oci_registry.scrub.scrub import Scrub
from oci_registry.serving import Serving, make_serving, make_site, socket_steps
from oci_registry.storage.interfaces import IDriver
from oci_registry.stores import Store, account_steps, make_store
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import Lanes
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.site import RegistrySite

if TYPE_CHECKING:
    from oci_registry.management.manager import Management

SHORTEST_STOP = 5.0
"""Seconds after the grace period within which aborted connections must have closed."""
LAST_COMMITS = 60.0
"""Seconds for committing complete downloads when the daemon stops."""
LAST_RECORDS = 15.0
"""Seconds for writing the records of manifests and tags; their writer gives up earlier."""


@frozen
class Parts:
    """The parts of a daemon.

    *steps* start and stop all of them, in order. *ports* listen before privileges are dropped.
    *driver* is the driver itself, without the deadlines of `GuardedDriver`. *store_started*: fires with
    the reason why it cannot be used, None if it can. *account*, *limit*: None for a bucket without a
    limit. *asked*: answers questions about a bucket. *management*: makes the object that answers
    questions about the store, and changes it.
    """

    steps: Sequence[Step]
    metrics: Metrics
    driver: IDriver
    store_started: Deferred[str | None]
    account: Account | None
    limit: StoreLimit | None
    asked: OnDemand | None
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
    management: Callable[..., Management]


def build(
    settings: Settings,
    reactor: Any,
    log_output: Output,
    *,
    notify_socket: str | None = None,
    makers: Makers = Makers(),  # noqa: B008 - it is frozen
) -> Parts:
    """Return the parts of a daemon for *settings*; nothing happens before they are started.

    *log_output*: the output of the access log. *notify_socket*: the address of the service manager.
    """
    common = make_common(settings, reactor, makers, log_output)
    metrics, access_log, events = common.metrics, common.access_log, common.events
    reader = ManifestReader(common.pools.add("parsers", common.sizes.parsers))
    store = make_store(common, reader)
    reading = common.pools.add("configuration", common.sizes.configuration)
    pull = make_pull_through(common, store, reader, reading)
    upkeep = make_upkeep(common, store, pull, reader)

    watch = ClientWatch(reactor)
    answers = None if settings.plain_http else ReadyAnswers(reactor, access_log, metrics)
    v2 = make_v2(common, store, pull, upkeep.tag_control, watch, answers)
    site, make_root = make_site(common, v2, pull.store_watch, answers)
    token = None if settings.admin_token is None else AdminToken(settings.admin_token)

    def changed() -> None:
        if serving.workers is not None:
            serving.workers.recall()

    admin = make_admin_sites(common, store, pull, upkeep, watch, token, make_root, reading, changed)
    pulls = PullEvents(events, access_log)
    serving = make_serving(common, watch, site, admin, pulls.sent_by_worker)
    if serving.workers is not None:
        store.blobs.cut = serving.workers.cut

    manager = makers.manager(notify_socket)
    reloader = make_reloader(
        settings,
        pull.table,
        upkeep.sweep,
        store.pinned,
        pull.limit,
        metrics,
        manager,
        reading,
        common.pause,
    )
    hangup = makers.hangup(
        reactor.callFromThread,
        reload_all(settings, reloader.reload, token, reading, admin.streams.check),
    )
    announcement = Announcement(manager, reactor)
    return Parts(
        _steps(common, store, pull, upkeep, serving, hangup, reloader, announcement),
        metrics,
        store.medium,
        store.preparation.done,
        store.account,
        pull.limit,
        store.asked,
        store.lanes,
        pull.transfers,
        pull.warmer,
        pull.records,
        upkeep.tag_control,
        upkeep.periodic,
        upkeep.scrub,
        site,
        events,
        admin.streams,
        serving.ports,
        partial(make_management, common, store, pull, upkeep),
    )


def _steps(
    common: Common,
    store: Store,
    pull: PullThrough,
    upkeep: Upkeep,
    serving: Serving,
    hangup: Any,
    reloader: Reloader,
    announcement: Announcement,
) -> list[Step]:
    """Return how the parts start, in this order, and stop, in the opposite order."""
    limit, workers, grace = pull.limit, serving.workers, common.settings.shutdown_grace
    return [
        # First: if a command is changing the store, nothing else is started.
        *common.makers.lock_steps(
            common.settings.storage, common.reactor, store.lanes.housekeeping
        ),
        # Before the others, so that it is removed last: without it a SIGHUP would kill a stopping process.
        Step("SIGHUP handler", hangup.install, hangup.remove),
        Step("access log", stop=common.access_log.stop),
        Step("events", common.events.start, common.events.stop),
        Step("upstream warnings", stop=common.repeats.stop),
        Step("threads", common.pools.start, common.pools.stop),
        # When it stops, nothing is stored any more.
        *account_steps(store),
        Step("upstreams", stop=pull.table.close),
        # Everything that uses the store comes after it, and so stops before it.
        Step("store", store.preparation.start, store.driver.stop),
        *upkeep.activity_steps(store),
        *upkeep.follower_steps(),
        Step("background writes", stop=pull.records.stop, stop_timeout=LAST_RECORDS),
        Step("holds of tags", pull.holding.start, pull.holding.stop),
        Step("transfers", stop=pull.transfers.stop, stop_timeout=LAST_COMMITS),
        Step("manifests", stop=pull.manifests.stop),
        Step("slow client check", serving.watch.start, serving.watch.stop),
        Step(
            "connections",
            stop=lambda: serving.close(grace),
            stop_timeout=grace + SHORTEST_STOP,
        ),
        Step("event streams", stop=serving.admin.streams.stop),
        # Before connections get their grace period: nobody waits for these.
        Step("prefetch", stop=pull.prefetcher.stop),
        Step("warming", stop=pull.warmer.stop),
        *([] if limit is None else [Step("limits of the store", limit.start, limit.stop)]),
        Step("sweep", upkeep.periodic.start, upkeep.periodic.stop),
        Step("scrub", upkeep.scrub.open, upkeep.scrub.close),
        Step("ports", serving.ports.startService, serving.ports.stopService),
        *socket_steps(common, serving.admin, store.lanes.housekeeping),
        *([] if workers is None else [Step("workers", workers.start)]),
        Step("reloader", stop=reloader.stop),
        Step("service manager", announcement.start, announcement.stop),
    ]
