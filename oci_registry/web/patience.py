"""Clients that stop reading without leaving: they are let go after a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from oci_registry.streams.send import Sender
from oci_registry.web.site import RegistryRequest

HEADERS_WITHIN = 5.0
"""Seconds after which the headers of a response leave without a body; containerd waits 30 in all."""
LIMIT = 300.0
"""Seconds without a byte taken after which a client is let go."""


class Patience:
    """Look at all running responses now and then, instead of a timer for each."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: dict[Sender, tuple[RegistryRequest, int]] = {}
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(LIMIT, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    @contextmanager
    def watching(self, sender: Sender, request: RegistryRequest) -> Iterator[None]:
        """Watch a response for as long as the context lasts.

        Its headers leave with its first byte, so that what goes wrong before can still be an error;
        but not later than clients wait for them.
        """
        self._watched[sender] = (request, -1)
        headers = self._clock.callLater(HEADERS_WITHIN, self._send_headers, request)
        try:
            yield
        finally:
            del self._watched[sender]
            if headers.active():
                headers.cancel()

    def _send_headers(self, request: RegistryRequest) -> None:
        if not (request.startedWriting or request.gone):
            request.write(b"")

    def look(self) -> None:
        """Let go of the clients that have taken nothing since the last look."""
        for sender, (request, sent) in list(self._watched.items()):
            if sender.paused and sender.sent == sent:
                self._log.info("a client that has stopped reading is let go")
                request.abort()
            else:
                self._watched[sender] = (request, sender.sent)
