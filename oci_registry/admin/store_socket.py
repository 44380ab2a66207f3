"""The admin socket in the directory of a store, where commands look for it."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from oci_registry.admin.local import (
    NAME,
    LocalEndpoint,
    LocalPort,
    NoSocket,
    PathTooLong,
    open_socket,
)
from oci_registry.config.files import NoAnswer, in_time
from oci_registry.spec.errors import system_reason
from oci_registry.streams.threads import RunInThread

PATIENCE = 2.0
"""Seconds within which the disk must create the socket."""
AGAIN = 30.0
"""Seconds until the next attempt, or until the next check that the socket is still there."""


class StoreSocket:
    """Listens in the directory *root* while the daemon runs. Everything else works without it.

    If that is not possible, it tries again periodically: another daemon of the directory may listen
    there, which may stop first. It also listens again if the socket was removed, as when somebody
    empties the directory. *run*: the thread in which it does so.
    """

    _log = Logger()

    def __init__(
        self,
        root: str,
        factory: IProtocolFactory,
        reactor: Any,
        clock: IReactorTime,
        run: RunInThread,
    ) -> None:
        self._path = os.path.join(root, NAME)
        self._factory = factory
        self._endpoint = LocalEndpoint(reactor, self._path)
        self._run = run
        self._port: LocalPort | None = None
        self._checks = LoopingCall(self._check)
        self._checks.clock = clock

    def start(self) -> None:
        """Listen; log a warning if that is not possible."""
        try:
            opened = in_time(open_socket, self._path, PATIENCE)
        except NoAnswer as error:
            self._log.warn("no admin socket: {error}", error=str(error))
        except OSError as error:
            self._log.warn(
                "no admin socket: {path}: {reason}", path=self._path, reason=_reason(error)
            )
            if isinstance(error, PathTooLong):
                return
        else:
            self._serve(opened)
        self._checks.start(AGAIN, now=False)

    def _serve(self, opened: socket.socket) -> LocalPort:
        self._port = self._endpoint.serve(opened, self._factory)
        self._log.debug("the admin API is at {path}", path=self._path)
        return self._port

    async def _check(self) -> None:
        try:
            opened = await self._run(self._open_again, self._port)
        except OSError:
            # The reason is in the log already, or the directory is unavailable, which is reported elsewhere.
            return
        if opened is not None:
            self._serve_again(opened)

    def _open_again(self, port: LocalPort | None) -> socket.socket | None:
        """Return a new socket, if there is none yet or *port* has lost its own. Blocks; raises OSError."""
        return open_socket(self._path) if port is None or port.is_removed() else None

    def _serve_again(self, opened: socket.socket) -> None:
        before, port = self._port, self._serve(opened)
        if before is not None:
            before.stopListening()
            self._log.info("listening at {path} again: the socket was removed", path=self._path)
        if not self._checks.running:
            # The daemon was stopped meanwhile.
            port.stopListening()

    async def stop(self) -> None:
        """Stop listening, and remove the socket."""
        if self._checks.running:
            self._checks.stop()
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)


def _reason(error: OSError) -> str:
    if isinstance(error, NoSocket):
        return f"{system_reason(error)}; remove it, or choose another place with --admin-listen unix:PATH"
    if error.errno == errno.EADDRINUSE:
        return "another daemon listens there; choose another place with --admin-listen unix:PATH"
    if error.errno == errno.ENAMETOOLONG:
        return f"{system_reason(error)}; choose another place with --admin-listen unix:PATH"
    return system_reason(error)
