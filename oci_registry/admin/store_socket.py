"""The socket of the admin API in the directory of a store, which commands look for there."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from oci_registry.admin.local import NAME, LocalEndpoint, open_socket
from oci_registry.config.files import NoAnswer, in_time
from oci_registry.spec.errors import system_reason

PATIENCE = 2.0
"""Seconds in which the disk has to make the socket."""


class StoreSocket:
    """Listens in the directory *root* while the daemon runs. Without it everything else goes on."""

    _log = Logger()

    def __init__(self, root: str, factory: IProtocolFactory, reactor: Any) -> None:
        self._path = os.path.join(root, NAME)
        self._factory = factory
        self._endpoint = LocalEndpoint(reactor, self._path)
        self._port: IListeningPort | None = None

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
        else:
            self._port = self._endpoint.serve(opened, self._factory)
            self._log.debug("the admin API is at {path}", path=self._path)

    async def stop(self) -> None:
        """Stop listening, and remove the socket."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another daemon listens there; choose another place with --admin-listen unix:PATH"
    if error.errno == errno.ENAMETOOLONG:
        return f"{system_reason(error)}; choose another place with --admin-listen unix:PATH"
    return system_reason(error)
