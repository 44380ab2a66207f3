"""Responses that do not go on: headers that leave without a body, clients that read nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from oci_registry.streams.send import Sender
from oci_registry.web.site import RegistryRequest


@frozen
class PatienceLimits:
    """Seconds until the headers of a response leave without a body, and that a client may read nothing.

    containerd waits 30 s for headers in all.
    """

    headers: float = 5.0
    reading: float = 300.0


class Patience:
    """Ends what clients and we wait for: looks at all running responses now and then."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: PatienceLimits = PatienceLimits(),
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._watched: dict[Sender, tuple[RegistryRequest, int]] = {}
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(self._limits.reading, now=False)

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
        headers = self._clock.callLater(self._limits.headers, self._send_headers, request)
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
        """Close the connections of clients that have taken nothing since the last look."""
        for sender, (request, sent) in list(self._watched.items()):
            if sender.paused and sender.sent == sent:
                self._log.info("a client has stopped reading; its connection is closed")
                request.abort()
            else:
                self._watched[sender] = (request, sender.sent)
