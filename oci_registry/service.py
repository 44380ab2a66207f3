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
from oci_registry.config.listen import is_socket
from oci_registry.config.refusals import explain_refusal
from oci_registry.config.settings import FilesystemSettings, Settings
from oci_registry.lifecycle import Lifecycle
from oci_registry.log_output import (
    STANDARD_OUTPUT,
    FileOutput,
    LogPlace,
    PipeOutput,
    open_output,
)
from oci_registry.logs import describe_dropped, observe_application
from oci_registry.makers import Makers
from oci_registry.spec.errors import system_reason
from oci_registry.startup import free_space, listed, mirrored
from oci_registry.storage.lock import StoreInUse
from oci_registry.streams.memory import return_large_blocks
from oci_registry.streams.steps import switch_often

STORE_TIMEOUT = 2.0
"""Seconds that the start line waits for the state of the store, which is left out after that."""


class StartError(SystemExit, Exception):
    """The daemon cannot start: the process ends with this message and without a traceback.

    It is also an Exception, so that twistd reports it to the process that waits for the daemon's start.
    """


class Daemon(Service):
    """Starts and stops the parts of a daemon, and logs that."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        log_place: LogPlace = STANDARD_OUTPUT,
        notify_socket: str | None = None,
        makers: Makers = Makers(),  # noqa: B008 - it is frozen
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._log_place = log_place
        self._output = open_output(log_place, describe_dropped(settings.log_format))
        self.parts = build(
            settings, reactor, self._output, notify_socket=notify_socket, makers=makers
        )
        self._further_signals = makers.further_signals
        self._lifecycle = Lifecycle(self.parts.steps, reactor)

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of the application, and decide how it logs."""
        super().setServiceParent(parent)
        if self._log_place.kept:
            return
        if isinstance(self._output, FileOutput):
            try:
                self._output.open(self._reactor.callFromThread)
            except OSError as error:
                raise StartError(
                    f"oci-registry: {self._log_place.file}: {system_reason(error)}: choose another "
                    "file for the log with --logfile of twistd"
                ) from None
        settings = self._settings
        observe_application(parent, settings.log_level, settings.log_format, self._output)

    def privilegedStartService(self) -> None:
        """Listen, except at admin sockets; exit with a message if any endpoint fails."""
        self._listen(own=False)

    def _listen(self, *, own: bool) -> None:
        """Listen at the places that are opened as root (twistd has ``--uid``), or as the daemon's *own* user.

        A socket belongs to the user who opens it, and admin sockets must belong to the daemon's user.
        """
        settings = self._settings
        places = [("--listen", each, False) for each in settings.listen]
        places += [("--admin-listen", each, is_socket(each)) for each in settings.admin_listen]
        for (flag, endpoint, is_own), port in zip(places, self.parts.ports, strict=True):
            if is_own is not own:
                continue
            try:
                port.privilegedStartService()
            except (CannotListenError, OSError) as error:
                reason = explain_refusal(error, endpoint, flag)
                raise StartError(f"oci-registry: {reason}") from None

    def startService(self) -> None:
        """Start all parts."""
        super().startService()
        settings = self._settings
        for warning in settings.warnings:
            # The field is not named "warning", which Twisted's observers treat as a Python warning.
            self._log.warn("{text}", text=warning)
        _raise_file_limit()
        return_large_blocks()
        switch_often()
        self._listen(own=True)
        try:
            self._lifecycle.start()
        except StoreInUse as error:
            raise StartError(f"oci-registry: {error}") from None
        Deferred.fromCoroutine(self._log_start())

    async def _log_start(self) -> None:
        """Log where the daemon listens, what it mirrors and where it stores that."""
        settings = self._settings
        urls = [port.endpoint.url for port in self.parts.ports]
        storing = await self._describe_store()
        if not self.running:
            # It has been stopped meanwhile.
            return
        clients, admins = urls[: len(settings.listen)], urls[len(settings.listen) :]
        self._log.info(
            "oci-registry {version} on {listen}, mirroring {registries}, {storing}",
            version=__version__,
            listen=listed(clients),
            registries=mirrored(settings),
            storing=storing,
        )
        if admins:
            self._log.info("metrics are served on {listen} only", listen=listed(admins))
        open_to_none = [
            url
            for url, endpoint in zip(admins, settings.admin_listen, strict=True)
            if settings.admin_token is None and not is_socket(endpoint)
        ]
        if open_to_none:
            self._log.info(
                "the admin API needs --admin-token-file on {listen}", listen=listed(open_to_none)
            )

    async def _describe_store(self) -> str:
        """Return where everything is stored, or why it is not, if that is known in time."""
        storage, parts, clock = self._settings.storage, self.parts, self._reactor
        deadline = clock.seconds() + STORE_TIMEOUT
        place = storage.description
        if isinstance(storage, FilesystemSettings):
            measured = parts.lanes.housekeeping(free_space, storage.root)
            with suppress(DeferredTimeout, OSError, ValueError):
                free = await measured.addTimeout(STORE_TIMEOUT, clock)
                place = place if free is None else f"{place} ({free} free)"
        trouble = None
        with suppress(DeferredTimeout):
            left = max(deadline - clock.seconds(), 0.0)
            trouble = await parts.store_started.addTimeout(left, clock)
        return f"storing in {place}" if trouble is None else f"not storing: {trouble}"

    def stopService(self) -> Deferred[None]:
        """Stop accepting connections, let responses finish, cancel the rest, and stop all parts."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        with self._further_signals(self._reactor.callFromThread, self._stop_again):
            # A reader of this line may send another signal at once.
            self._log.info("stopping")
            await self._lifecycle.stop()
        self._log.info("stopped")
        if isinstance(self._output, PipeOutput):
            # twistd ends the process with the signal that it received.
            self._output.close()

    def _stop_again(self) -> None:
        self._log.info("stopping already: SIGKILL ends the process at once")


def _raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each client needs one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_service(
    reactor: Any,
    settings: Settings,
    *,
    log_place: LogPlace = STANDARD_OUTPUT,
    notify_socket: str | None = None,
) -> IService:
    """Return the daemon for *settings*; nothing happens before it is started.

    *notify_socket*: where the service manager listens.
    """
    return Daemon(reactor, settings, log_place=log_place, notify_socket=notify_socket)
