"""The sites and listening ports of a daemon, and the worker processes that share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from oci_registry.admin.local import MODE, NAME, LocalEndpoint
from oci_registry.admin.site import Admin
from oci_registry.admin.store_socket import StoreSocket
from oci_registry.common import Common
from oci_registry.config.listen import address_of, is_socket, mode_of, with_backlog
from oci_registry.config.settings import FilesystemSettings, Settings
from oci_registry.lifecycle import Step
from oci_registry.pullthrough.store_watch import StoreWatch
from oci_registry.startup import KnownEndpoint, listed
from oci_registry.streams.threads import RunInThread
from oci_registry.web.channel import LINGER
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.listener import Listener
from oci_registry.web.polling import make_poller
from oci_registry.web.port import FileEndpoint, Transports, is_plain, keep_passed
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.root import Ready, Root
from oci_registry.web.site import IDLE_TIMEOUT, RegistrySite
from oci_registry.web.v2 import V2

if TYPE_CHECKING:
    from oci_registry.workers.supervision import WorkerProcesses

_log = Logger()


@frozen
class Serving:
    """The sites, ports and workers. *watch*: detects slow clients. *workers*: None if there are none."""

    watch: ClientWatch
    site: RegistrySite
    admin: Admin
    ports: MultiService
    workers: WorkerProcesses | None

    def close(self, grace: float) -> Deferred[Any]:
        """Close all connections; those with a running request within *grace* seconds."""
        closing = (self.site, self.admin.local, self.admin.guarded, self.workers)
        return gatherResults([each.close(grace) for each in closing if each is not None])


def make_site(
    common: Common, v2: V2, watch: StoreWatch, answers: ReadyAnswers | None
) -> tuple[RegistrySite, Callable[[], Root]]:
    """Make the site for clients, and the function that makes the roots of admin sites."""
    reactor, metrics, pause = common.reactor, common.metrics, common.pause
    ready = Ready(watch.check)
    public = None if common.settings.admin_listen else metrics
    root = Root(ready, metrics=public, v2=v2, answers=answers, pause=pause)
    poller = make_poller(reactor)
    site = RegistrySite(root, reactor, common.access_log, common.repeats, answers, poller)
    return site, lambda: Root(ready, metrics=metrics, pause=pause)


def _make_ports(
    settings: Settings,
    site: RegistrySite,
    admin: Admin,
    transports: Transports,
    reactor: Any,
) -> MultiService:
    """Make the listening ports: those for clients, and then those for admins."""
    ports = MultiService()
    for endpoint in settings.listen:
        found = keep_passed(serverFromString(reactor, with_backlog(endpoint)), reactor)
        known = KnownEndpoint(endpoint, FileEndpoint(found, transports))
        ports.addService(Listener(endpoint, known, site))
    for endpoint in settings.admin_listen:
        if is_socket(endpoint):
            _, path, _ = address_of(endpoint) or ("", "", "")
            local = LocalEndpoint(reactor, path, mode_of(endpoint) or MODE)
            port = Listener(endpoint, KnownEndpoint(endpoint, local), admin.local)
        else:
            found = keep_passed(serverFromString(reactor, with_backlog(endpoint)), reactor)
            port = Listener(endpoint, KnownEndpoint(endpoint, found), admin.guarded)
        ports.addService(port)
    return ports


def _make_workers(
    common: Common,
    site: RegistrySite,
    ports: MultiService,
    sent: Callable[[bytes, int], None],
) -> WorkerProcesses | None:
    """Make the worker processes; None if there are none.

    *sent* is called with the target of an answer, and the number of times that workers have sent it.
    """
    settings, metrics, reactor = common.settings, common.metrics, common.reactor
    if settings.workers == 1:
        metrics.watch_connections(site.connection_count)
        return None
    # Most daemons have none.
    from oci_registry.workers.leases import Lender  # noqa: PLC0415
    from oci_registry.workers.link import Shared  # noqa: PLC0415
    from oci_registry.workers.options import WorkerOptions  # noqa: PLC0415
    from oci_registry.workers.supervision import WorkerProcesses  # noqa: PLC0415

    def shared() -> Sequence[Any]:
        endpoints = [port.endpoint for port in list(ports)[: len(settings.listen)]]
        alone = [each.url for each in endpoints if not is_plain(each.port, site)]
        if alone:
            _log.warn(
                "workers cannot share {listen}: the main process serves it alone",
                listen=listed(alone),
            )
        return [each.port for each in endpoints if is_plain(each.port, site)]

    lender = None if site.ready is None else Lender(site.ready, reactor.seconds, sent)
    options = WorkerOptions(IDLE_TIMEOUT, LINGER, settings.access_log_in_effect)
    together = Shared(site, metrics, common.log_output, lender)
    workers = WorkerProcesses(settings.workers, options, together, shared, reactor)
    metrics.watch_connections(lambda: site.connection_count() + workers.connection_count())
    return workers


def make_serving(
    common: Common,
    watch: ClientWatch,
    site: RegistrySite,
    admin: Admin,
    sent: Callable[[bytes, int], None],
) -> Serving:
    """Make the ports, and the workers that share them. *sent*: as for the workers."""
    transports = {} if common.settings.plain_http else common.makers.transports
    ports = _make_ports(common.settings, site, admin, transports, common.reactor)
    return Serving(watch, site, admin, ports, _make_workers(common, site, ports, sent))


def socket_steps(common: Common, admin: Admin, run: RunInThread) -> list[Step]:
    """Return the steps that open and close the admin socket in the directory of the store."""
    settings = common.settings
    storage = settings.storage
    if not common.makers.store_socket:
        return []
    if not (settings.admin_socket and isinstance(storage, FilesystemSettings)):
        return []
    path = os.path.join(storage.root, NAME)
    if any(address_of(endpoint) == ("unix", path, "") for endpoint in settings.admin_listen):
        return []
    socket = StoreSocket(storage.root, admin.local, common.reactor, common.reactor, run)
    return [Step("admin socket", socket.start, socket.stop)]
