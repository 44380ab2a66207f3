"""Accepts connections on a listening socket that several processes share."""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

PAUSE = 0.5
"""Seconds without accepting, if the process or the system has too many open files."""
_EXHAUSTED = frozenset((EMFILE, ENFILE, ENOBUFS, ENOMEM))


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts one connection at a time, so that other processes get their share; calls *accepted* with it."""

    def __init__(
        self, listening: socket.socket, reactor: Any, accepted: Callable[[socket.socket], None]
    ) -> None:
        self._socket = listening
        self._reactor = reactor
        self._accepted = accepted
        self._open = True
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return how the reactor calls this in its log."""
        return "accepting"

    def doRead(self) -> None:
        """Accept a connection, unless another process was faster."""
        if not self._open:
            return
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._reactor.removeReader(self)
                self._reactor.callLater(PAUSE, self._again)
            # Otherwise another process has accepted the connection, or it is closed already.
            return
        connection.setblocking(False)
        self._accepted(connection)

    def _again(self) -> None:
        if self._open:
            self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The socket has stopped listening, for all processes."""
        self.close()

    def close(self) -> None:
        """Accept no further connection. Idempotent."""
        if self._open:
            self._open = False
            self._reactor.removeReader(self)
            self._socket.close()
