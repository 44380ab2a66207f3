"""The daemon as a service that twistd runs."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from oci_registry import __version__
from oci_registry.build import build
from oci_registry.config.settings import FilesystemSettings, Settings
from oci_registry.lifecycle import Lifecycle
from oci_registry.logs import observe_application
from oci_registry.makers import Makers
from oci_registry.startup import free_space, listed, mirrored
from oci_registry.streams.memory import return_large_blocks

FREE_SPACE_TIMEOUT = 2.0
"""Seconds that the start waits for the free space of the volume; without it nothing is said of it."""


class Daemon(Service):
    """Starts and stops the parts of a daemon, and logs that."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        keep_twistd_log: bool = False,
        notify_socket: str | None = None,
        makers: Makers = Makers(),  # noqa: B008 - it is frozen
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._keep_twistd_log = keep_twistd_log
        self.parts = build(settings, reactor, notify_socket=notify_socket, makers=makers)
        self._lifecycle = Lifecycle(self.parts.steps, reactor)

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of the application, and decide how it logs."""
        super().setServiceParent(parent)
        if not self._keep_twistd_log:
            observe_application(parent, self._settings.log_level, self._settings.log_format)

    def privilegedStartService(self) -> None:
        """Listen; exit with a message if a port is not available."""
        try:
            self.parts.ports.privilegedStartService()
        except (CannotListenError, OSError) as error:
            raise SystemExit(f"oci-registry: {error}") from None

    def startService(self) -> None:
        """Start all parts."""
        super().startService()
        settings = self._settings
        for warning in settings.warnings:
            # Not in a field called "warning": Twisted's observers take that for a Python warning.
            self._log.warn("{text}", text=warning)
        _raise_file_limit()
        return_large_blocks()
        self._lifecycle.start()
        Deferred.fromCoroutine(self._log_start())

    async def _log_start(self) -> None:
        """Log where the daemon listens, what it mirrors and where it stores that."""
        settings = self._settings
        place = settings.storage.description
        if isinstance(settings.storage, FilesystemSettings):
            measured = self.parts.lanes.housekeeping(free_space, settings.storage.root)
            with suppress(DeferredTimeout):
                free = await measured.addTimeout(FREE_SPACE_TIMEOUT, self._reactor)
                place = place if free is None else f"{place} ({free} free)"
        urls = [port.endpoint.url for port in self.parts.ports]
        clients, admins = urls[: len(settings.listen)], urls[len(settings.listen) :]
        self._log.info(
            "oci-registry {version} on {listen}, mirroring {registries}, storing in {place}",
            version=__version__,
            listen=listed(clients),
            registries=mirrored(settings),
            place=place,
        )
        if admins:
            self._log.info("metrics are served on {listen} only", listen=listed(admins))

    def stopService(self) -> Deferred[None]:
        """Stop accepting connections, let responses finish, cancel the rest, and stop all parts."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._log.info("stopping")
        await self._lifecycle.stop()
        self._log.info("stopped")


def _raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each client needs one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
