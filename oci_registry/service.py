"""The object graph of one daemon, and the order in which it starts and stops."""

from __future__ import annotations

import resource
from random import SystemRandom
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.application.strports import service as listening
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.config.settings import (
    DEFAULT_INVALIDATION_TIME,
    HostSettings,
    S3Settings,
    Settings,
)
from oci_registry.config.sources import Reread, reread_upstreams
from oci_registry.eviction.sweep import Sweep
from oci_registry.logs import build_access_log, observe_application
from oci_registry.metrics import Metrics
from oci_registry.notify import ServiceManager
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.pullthrough.trouble import StoreTrouble
from oci_registry.reload import Following, Hangup, Reloader, lifetimes_of
from oci_registry.spec.routes import BlobRoute, ManifestRoute, ReferrersRoute, TagsRoute
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers import driver_class
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.memory import return_large_blocks
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.threads import Lanes, Workers
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
LOOKUP = 8
"""Threads for what a client waits for in the store."""
INGEST = 4
"""Threads that hash and append downloads."""
COMMIT = 4
"""Threads that put objects in their place, which with some disks takes seconds."""
HOUSEKEEPING = 2
"""Threads for listings, deletions and checks."""
PARSERS = 2
"""Threads that hash and parse large manifests, and do nothing that can hang."""
CONFIGURERS = 1
"""Threads that read files of the configuration."""


class Daemon(MultiService):
    """Everything that runs. Its children are the listening ports."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        keep_twistd_log: bool = False,
        notify_socket: str | None = None,
    ) -> None:
        super().__init__()
        self._manager = ServiceManager(notify_socket)
        self._announcing: IDelayedCall | None = None
        self._settings = settings
        self._keep_twistd_log = keep_twistd_log
        self._reactor = reactor
        lookup, commit, housekeeping = LOOKUP, COMMIT, HOUSEKEEPING
        if isinstance(settings.storage, S3Settings):
            # Each waits for an answer; together they are as many as there may be connections.
            connections = settings.storage.connections
            housekeeping = max(1, connections // 8)
            commit = max(1, connections * 3 // 8)
            lookup = max(1, connections - commit - housekeeping)
        lanes = [
            Workers(reactor, "lookup", lookup),
            Workers(reactor, "ingest", INGEST),
            Workers(reactor, "commit", commit),
            Workers(reactor, "housekeeping", housekeeping),
        ]
        self._lanes = Lanes(*lanes)
        self._parsers = Workers(reactor, "parsers", PARSERS)
        self._manifest_reader = ManifestReader(self._parsers)
        self._configurers = Workers(reactor, "configurers", CONFIGURERS)
        self._pools = (
            *lanes,
            self._parsers,
            self._configurers,
        )
        self.metrics = Metrics(upstream.namespace for upstream in settings.upstreams)
        self._build()

    def _build(self) -> None:
        settings, reactor, metrics = self._settings, self._reactor, self.metrics
        storage = settings.storage
        driver = self._build_driver()
        usage = Usage(driver, reactor)
        blobs = BlobStore(
            driver, usage, self._lanes.housekeeping, check_always=settings.check_cache_digest
        )
        manifests = ManifestStore(driver, usage, self._manifest_reader)
        tags = TagStore(driver)
        referrers = ReferrersStore(driver, usage)
        connector = Connector(
            reactor,
            SystemRandom().random,
            settings.egress,
            metrics,
            self._manifest_reader,
            self._host_at,
        )
        table = self._table = UpstreamTable(
            settings.upstreams,
            connector.connect,
            connector.share,
            default_namespace=settings.default_namespace,
            dynamic=settings.allow_dynamic_upstreams,
        )
        sizes = KnownSizes()
        trouble = StoreTrouble(reactor, metrics)
        transfers = Transfers(blobs, self._lanes.ingest, reactor, trouble, sizes, metrics)
        patience = Patience(reactor)
        referrers_lists = ReferrersLists(referrers, manifests, reactor, trouble)
        manifest_cache = ManifestCache(manifests, tags, sizes, reactor, trouble, metrics)
        handlers: dict[type, Handler] = {
            ManifestRoute: ManifestHandler(manifest_cache),
            BlobRoute: BlobHandler(
                BlobCache(blobs, transfers, sizes, trouble, metrics),
                redirect=isinstance(storage, S3Settings) and storage.redirect,
                redirect_ranges=isinstance(storage, S3Settings) and storage.redirect_ranges,
            ),
            TagsRoute: TagsHandler(TagLists(tags, trouble)),
            ReferrersRoute: ReferrersHandler(referrers_lists),
        }
        v2 = V2(handlers, table, patience, reactor, metrics)
        access_log = build_access_log(
            settings.log_level, settings.log_format, settings.access_log, reactor
        )
        ready = Ready(driver.check, reactor)
        apart = bool(settings.admin_listen)
        root = Root(ready, metrics=None if apart else metrics, v2=v2)
        self._site = RegistrySite(root, reactor, access_log)
        metrics.watch_connections(self._site.connection_count)
        self._admin_site = RegistrySite(Root(ready, metrics=metrics), reactor, access_log)
        sweep = Sweep(
            blobs,
            manifests,
            tags,
            referrers,
            lifetimes_of(settings.upstreams, DEFAULT_INVALIDATION_TIME),
            driver.begin_sweep,
            transfers.__contains__,
            reactor.seconds,
            metrics,
        )
        self._driver, self._transfers, self._patience = driver, transfers, patience
        self._manifests = manifest_cache
        self._referrers = referrers_lists
        self._sweep = sweep
        self._sweeping = LoopingCall(self.sweep)
        self._sweeping.clock = reactor
        following = Following(table, metrics, sweep.follow, DEFAULT_INVALIDATION_TIME)
        self._reloader = Reloader(self._reread, following.configure, metrics, self._manager)
        self._hangup = Hangup(reactor.callFromThread, self._reloader.reload)
        for endpoint in settings.listen:
            listening(_with_backlog(endpoint), self._site, reactor).setServiceParent(self)
        for endpoint in settings.admin_listen:
            listening(_with_backlog(endpoint), self._admin_site, reactor).setServiceParent(self)

    def _build_driver(self) -> IDriver:
        storage, reactor = self._settings.storage, self._reactor
        if isinstance(storage, S3Settings):
            return driver_class("s3")(storage, self._lanes, reactor)
        return driver_class("filesystem")(storage.root, self._lanes, reactor)

    def _reread(self) -> Deferred[Reread]:
        return self._configurers(reread_upstreams, self._settings)

    def _host_at(self, origin: str) -> HostSettings | None:
        # The table is made with what needs this.
        return self._table.host_at(origin)

    def sweep(self) -> Deferred[None]:
        """Remove what nobody uses; if it fails, the next sweep comes all the same."""
        swept = Deferred.fromCoroutine(self._sweep.run())
        return swept.addCallbacks(lambda _: None, self._sweep_failed)

    def _sweep_failed(self, failure: Failure) -> None:
        self.metrics.error("sweep")
        self._log.error("the sweep failed: {error}", error=failure.getErrorMessage())

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of the application, and decide how it logs."""
        super().setServiceParent(parent)
        if not self._keep_twistd_log:
            observe_application(parent, self._settings.log_level, self._settings.log_format)

    def privilegedStartService(self) -> None:
        """Listen; whoever holds the port is told of in a sentence."""
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            raise SystemExit(f"oci-registry: {error}") from None

    def startService(self) -> None:
        """Start to serve. The store may be broken or empty: pulls then go on uncached."""
        for warning in self._settings.warnings:
            # Not as a field called "warning": Twisted's observers take that for one of Python's.
            self._log.warn("{text}", text=warning)
        _raise_file_limit()
        return_large_blocks()
        for pool in self._pools:
            pool.start()
        self._driver.start().addErrback(self._store_is_broken)
        self._patience.start()
        super().startService()
        self._sweeping.start(self._driver.sweep_interval, now=False)
        self._hangup.install()
        self._log.info(
            "serving on {listen}, storing in {place}",
            listen=", ".join(self._settings.listen),
            place=self._settings.storage.description,
        )
        if self._settings.admin_listen:
            self._log.info(
                "metrics are served on {listen} only", listen=", ".join(self._settings.admin_listen)
            )
        # Not before the reactor runs, which takes the signals by which the daemon is stopped.
        self._announcing = self._reactor.callLater(0, self._manager.ready)

    def _store_is_broken(self, failure: Failure) -> None:
        self.metrics.error("store")
        self._log.error(
            "the store is not usable, pulls are not cached: {error}",
            error=failure.getErrorMessage(),
        )

    def stopService(self) -> Deferred[None]:
        """Stop in order: accept nothing, let responses finish, break off the rest, leave no trace."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._log.info("stopping")
        if self._announcing is not None and self._announcing.active():
            self._announcing.cancel()
        self._manager.stopping()
        self._reloader.stop()
        await super().stopService()
        if self._sweeping.running:
            self._sweeping.stop()
        grace = self._settings.shutdown_grace
        await gatherResults([self._site.close(grace), self._admin_site.close(grace)])
        self._patience.stop()
        await self._manifests.stop()
        await self._referrers.stop()
        await self._transfers.stop()
        await self._driver.stop()
        await self._table.close()
        for pool in self._pools:
            pool.stop()
        # Not before: left to the system, the signal would end what is being ended in order.
        self._hangup.remove()
        self._log.info("stopped")


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us have: one or two are needed per client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _with_backlog(endpoint: str) -> str:
    """Let as many connections wait as a cluster makes when all of it pulls at once."""
    takes_backlog = endpoint.partition(":")[0] in ("tcp", "tcp6", "ssl")
    return (
        f"{endpoint}:backlog={BACKLOG}"
        if takes_backlog and "backlog=" not in endpoint
        else endpoint
    )


def make_service(
    reactor: Any,
    settings: Settings,
    *,
    keep_twistd_log: bool = False,
    notify_socket: str | None = None,
) -> IService:
    """Return the daemon for *settings*; nothing happens before it is started.

    *notify_socket*: where the service manager listens.
    """
    return Daemon(reactor, settings, keep_twistd_log=keep_twistd_log, notify_socket=notify_socket)
