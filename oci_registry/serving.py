"""The sites and listening ports of a daemon, and the worker processes that share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from oci_registry.config.listen import with_backlog
from oci_registry.config.settings import Settings
from oci_registry.log_output import Output
from oci_registry.logs import AccessLog
from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_watch import StoreWatch
from oci_registry.repeats import RepeatLog
from oci_registry.startup import KnownEndpoint, listed
from oci_registry.streams.steps import Pause
from oci_registry.web.channel import LINGER
from oci_registry.web.listener import Listener
from oci_registry.web.polling import make_poller
from oci_registry.web.port import FileEndpoint, Transports, is_plain
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.root import Ready, Root
from oci_registry.web.site import IDLE_TIMEOUT, RegistrySite
from oci_registry.web.v2 import V2

if TYPE_CHECKING:
    from oci_registry.workers.supervision import WorkerProcesses

_log = Logger()


def make_sites(
    settings: Settings,
    v2: V2,
    watch: StoreWatch,
    access_log: AccessLog,
    answers: ReadyAnswers | None,
    metrics: Metrics,
    repeats: RepeatLog,
    pause: Pause,
    reactor: Any,
) -> tuple[RegistrySite, RegistrySite]:
    """Make the sites for clients and for monitoring."""
    ready = Ready(watch.check)
    public = None if settings.admin_listen else metrics
    root = Root(ready, metrics=public, v2=v2, answers=answers, pause=pause)
    poller = make_poller(reactor)
    site = RegistrySite(root, reactor, access_log, repeats, answers, poller)
    admin_root = Root(ready, metrics=metrics, pause=pause)
    return site, RegistrySite(admin_root, reactor, access_log, repeats)


def make_ports(
    settings: Settings,
    site: RegistrySite,
    admin_site: RegistrySite,
    transports: Transports,
    reactor: Any,
) -> MultiService:
    """Make the listening ports: those for clients, and then those for monitoring."""
    ports = MultiService()
    for endpoints, factory in ((settings.listen, site), (settings.admin_listen, admin_site)):
        for endpoint in endpoints:
            found = serverFromString(reactor, with_backlog(endpoint))
            known = KnownEndpoint(endpoint, FileEndpoint(found, transports))
            ports.addService(Listener(endpoint, known, factory))
    return ports


def make_workers(
    settings: Settings,
    site: RegistrySite,
    ports: MultiService,
    metrics: Metrics,
    output: Output,
    reactor: Any,
) -> WorkerProcesses | None:
    """Make the worker processes; None if there are none. *output*: of the access log."""
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

    lender = None if site.ready is None else Lender(site.ready, reactor.seconds)
    options = WorkerOptions(IDLE_TIMEOUT, LINGER, settings.access_log_in_effect)
    common = Shared(site, metrics, output, lender)
    workers = WorkerProcesses(settings.workers, options, common, shared, reactor)
    metrics.watch_connections(lambda: site.connection_count() + workers.connection_count())
    return workers
