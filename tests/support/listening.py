"""A port that is listened on now and then, always the same one."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any
from weakref import finalize

LOCAL = "127.0.0.1"


class Listening:
    """A port of this machine, which refuses connections while nobody listens, and which nobody else can get.

    Otherwise another test that runs at the same time could be given it.
    """

    def __init__(self) -> None:
        self.port = 0
        self._listening: Any = None
        self._held = ExitStack()
        finalize(self, self._held.close)

    def start(self, reactor: Any, factory: Any, tls: Any = None) -> None:
        """Listen; *tls* is a context factory to do so with."""
        self._held.close()
        if tls is None:
            self._listening = reactor.listenTCP(self.port, factory, interface=LOCAL)
        else:
            self._listening = reactor.listenSSL(self.port, factory, tls, interface=LOCAL)
        self.port = self._listening.getHost().port

    async def stop(self) -> None:
        """Refuse connections. Idempotent."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()
            held = self._held.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((LOCAL, self.port))
            # The old connections do not matter, but from now on nobody else may bind to it.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
