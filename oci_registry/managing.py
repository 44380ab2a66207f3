"""Makes the maintenance of a store: the sweep, the scrub, management, and the admin API."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from attrs import frozen

from oci_registry.activity.counts import read_counts
from oci_registry.activity.file import FILE, HistoryFile
from oci_registry.activity.recorder import Recorder
from oci_registry.admin.gate import Gate, LocalGate, TokenGate
from oci_registry.admin.late import LatePage, LatePages, MakePages
from oci_registry.admin.pulls import record_eviction
from oci_registry.admin.site import Admin, AdminSite
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.token import AdminToken
from oci_registry.common import Common
from oci_registry.config.settings import S3Settings
from oci_registry.eviction.announcements import Announce
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.eviction.sweep import Sweep
from oci_registry.lifecycle import Step
from oci_registry.management.notices import NoticeFollower, Notices
from oci_registry.pulling import PullThrough
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.scrub.healing import Stores
from oci_registry.scrub.making import make_scrub
from oci_registry.scrub.mender import OriginMender
from oci_registry.scrub.scrub import Scrub
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.stores import Store, make_sweep
from oci_registry.streams.garbage import import_for_good
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.table import Target
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.root import Root

if TYPE_CHECKING:
    from oci_registry.management.bucket_index import Freshness
    from oci_registry.management.manager import Management

API = b"api"
ORIGINAL = b"_admin"
"""The first segments of the paths of the API, and of the requests of mcronce/oci-registry."""
ROOT, PAGES = b"", b"page"
"""The first segments of the paths of the status page and its files."""
LAST_ACTIVITY = 5.0
"""Seconds for writing the history of the activity when the daemon stops."""
# Imported late, by its name: few daemons get a request for it, and it takes 2 MiB.
_PAGES = "oci_registry.admin_pages"


@frozen
class Upkeep:
    """The objects that maintain a store.

    *periodic* repeats the *sweep*. *activity* records the activity. *notices* announces removals to
    other daemons, and *follower* reads theirs; both are None if there are no other daemons.
    """

    sweep: Sweep
    periodic: PeriodicSweep
    scrub: Scrub
    tag_control: TagControl
    activity: Recorder
    notices: Notices | None
    follower: NoticeFollower | None

    def activity_steps(self, store: Store) -> list[Step]:
        """Return how the *activity* starts, once the store is prepared, and stops."""

        def start(result: str | None) -> str | None:
            self.activity.start()
            return result

        done = store.preparation.done
        stop = self.activity.stop
        return [Step("activity", lambda: done.addCallback(start), stop, LAST_ACTIVITY)]

    def follower_steps(self) -> list[Step]:
        """Return how the *follower* starts and stops."""
        if self.follower is None:
            return []
        return [Step("notices of other daemons", self.follower.start, self.follower.stop)]


def make_upkeep(common: Common, store: Store, pull: PullThrough, reader: ManifestReader) -> Upkeep:
    """Make the objects that maintain a store, and connect the limit to them."""
    notices, follower = _make_notices(common, store)
    announce = None if notices is None else notices.announce
    sweep = make_sweep(common, store, pull.transfers, announce)
    if pull.limit is not None:
        pull.limit.keep_forever(sweep.is_forever)
        pull.limit.promote(pull.table.rate_limited)
        pull.limit.tell(partial(record_eviction, common.events))
        if announce is not None:
            pull.limit.announce(announce)
    interval = store.driver.sweep_interval
    return Upkeep(
        sweep,
        PeriodicSweep(sweep, interval, common.reactor, common.metrics, common.events),
        _make_scrub(common, store, pull, reader, announce),
        _make_tag_control(common, store, pull),
        _make_activity(common, store),
        notices,
        follower,
    )


def _make_scrub(
    common: Common,
    store: Store,
    pull: PullThrough,
    reader: ManifestReader,
    announce: Announce | None,
) -> Scrub:
    """Make the scrub, which finds corrupt content. *announce*: tells other daemons of it."""
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
        None if pull.limit is None else pull.limit.use,
        announce,
    )


def _make_tag_control(common: Common, store: Store, pull: PullThrough) -> TagControl:
    """Make the object that shows tags, and changes what is served for them."""
    table, manifests = pull.table, pull.manifests

    async def obtain(host: str, repository: str, digest: Digest) -> Manifest:
        return (await manifests.get(Target(table.upstream(host), repository), digest)).manifest

    def min_age(host: str, repository: str, tag: str) -> float | None:
        return (
            table.upstream(host).settings.min_age.of(repository, tag)
            if table.mirrors(host)
            else None
        )

    now = common.reactor.seconds
    return TagControl(store.tags, store.histories, store.holds, pull.known, obtain, min_age, now)


def _make_activity(common: Common, store: Store) -> Recorder:
    """Make the recorder of the activity: in the directory of the store, or in the spool of a bucket."""
    storage, path = common.settings.storage, None
    if isinstance(storage, S3Settings):
        place = hashlib.sha256(storage.description.encode()).hexdigest()[:16]
        path = os.path.join(storage.spool, f"activity-{place}.json")
    # Not for a driver that a test has substituted.
    elif isinstance(store.medium, FilesystemDriver):
        path = str(store.medium.path(FILE))
    return Recorder(
        common.reactor,
        partial(read_counts, common.metrics),
        store.lanes.housekeeping,
        None if path is None else HistoryFile(path),
    )


def _make_notices(common: Common, store: Store) -> tuple[Notices | None, NoticeFollower | None]:
    """Make the announcer of removals to other daemons on a bucket, and the follower of theirs."""
    if not isinstance(common.settings.storage, S3Settings):
        return None, None
    notices = Notices(store.driver)
    return notices, NoticeFollower(
        notices, store.tags, store.manifests, store.blobs, common.reactor
    )


def make_management(
    common: Common, store: Store, pull: PullThrough, upkeep: Upkeep, *freshness: Freshness
) -> Management:
    """Make the object with which the admin API answers questions about the store, and changes it.

    *freshness*: of the answers about a bucket, if it is not the usual one.
    """
    made: Management = import_module(_PAGES).make_management(
        common, store, pull, upkeep, *freshness
    )
    return made


def make_admin_sites(
    common: Common,
    store: Store,
    pull: PullThrough,
    upkeep: Upkeep,
    watch: ClientWatch,
    token: AdminToken | None,
    make_root: Callable[[], Root],
    in_thread: RunInThread,
    changed: Callable[[], None],
) -> Admin:
    """Make the admin sites.

    *make_root* makes the other pages of each; *in_thread* runs imports, and encodes answers. *changed* is
    called after each change.
    """
    streams = EventStreams(common.events, watch, common.reactor)

    def begin() -> MakePages:
        made: MakePages = import_module(_PAGES).make_pages(
            common, store, pull, upkeep, watch, streams, in_thread, changed
        )
        return made

    pages = LatePages(partial(import_for_good, _PAGES), begin, in_thread)

    def site(gate: Gate) -> AdminSite:
        root = make_root()
        for name in (API, ORIGINAL, ROOT, PAGES):
            root.putChild(name, LatePage(pages, gate, name))
        return AdminSite(root, common.reactor, common.access_log, common.repeats)

    return Admin(site(LocalGate()), site(TokenGate(token)), streams)
