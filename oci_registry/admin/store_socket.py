"""The admin socket in the directory of a store, where commands look for it."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
)
from twisted.logger import Logger

from oci_registry.admin.local import NAME, LocalEndpoint, open_socket
from oci_registry.config.files import NoAnswer, in_time
from oci_registry.spec.errors import system_reason

PATIENCE = 2.0
"""Seconds within which the disk must create the socket."""
AGAIN = 30.0
"""Seconds until the next attempt if another daemon listens there."""


class StoreSocket:
    """Listens in the directory *root* while the daemon runs. Everything else works without it.

    If another daemon of the directory listens there, it tries again periodically, since that one may
    stop first.
    """

    _log = Logger()

    def __init__(
        self, root: str, factory: IProtocolFactory, reactor: Any, clock: IReactorTime
    ) -> None:
        self._path = os.path.join(root, NAME)
        self._factory = factory
        self._endpoint = LocalEndpoint(reactor, self._path)
        self._clock = clock
        self._port: IListeningPort | None = None
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Listen; log a warning if that is not possible."""
        self._listen(first=True)

    def _listen(self, *, first: bool = False) -> None:
        self._next = None
        try:
            opened = in_time(open_socket, self._path, PATIENCE)
        except NoAnswer as error:
            self._log.warn("no admin socket: {error}", error=str(error))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            if taken:
                self._next = self._clock.callLater(AGAIN, self._listen)
            if taken and not first:
                return
            self._log.warn(
                "no admin socket: {path}: {reason}", path=self._path, reason=_reason(error)
            )
        else:
            self._port = self._endpoint.serve(opened, self._factory)
            self._log.debug("the admin API is at {path}", path=self._path)

    async def stop(self) -> None:
        """Stop listening, and remove the socket."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another daemon listens there; choose another place with --admin-listen unix:PATH"
    if error.errno == errno.ENAMETOOLONG:
        return f"{system_reason(error)}; choose another place with --admin-listen unix:PATH"
    return system_reason(error)
