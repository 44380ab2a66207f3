"""Timeouts of responses: for their headers, and for clients that stop reading."""

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
class ClientWatchLimits:
    """The timeouts of a response, in seconds.

    *headers*: after this the headers are sent without waiting for the body; containerd waits 30 s for
    them in all. *reading*: the interval of the check for clients that have read nothing since the last.
    """

    headers: float = 5.0
    reading: float = 300.0


class ClientWatch:
    """Sends headers in time, and closes the connections of clients that have stopped reading."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: ClientWatchLimits = ClientWatchLimits(),
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._watched: dict[Sender, tuple[RegistryRequest, int]] = {}
        self._loop = LoopingCall(self.check)
        self._loop.clock = clock

    def __len__(self) -> int:
        """Return how many responses are being sent."""
        return len(self._watched)

    def start(self) -> None:
        """Start the regular check."""
        self._loop.start(self._limits.reading, now=False)

    def stop(self) -> None:
        """Stop the regular check. Idempotent."""
        if self._loop.running:
            self._loop.stop()

    @contextmanager
    def watch(
        self, sender: Sender, request: RegistryRequest, waited: float = 0.0
    ) -> Iterator[None]:
        """Watch a response for as long as the context lasts.

        The headers are usually sent with the first byte of the body, so that a failure before it can
        still become an error response. This sends them earlier if that byte takes too long. *waited*: the
        seconds of that time that have passed already.
        """
        self._watched[sender] = (request, -1)
        left = max(0.0, self._limits.headers - waited)
        headers = self._clock.callLater(left, self._send_headers, request)
        try:
            yield
        finally:
            del self._watched[sender]
            if headers.active():
                headers.cancel()

    def _send_headers(self, request: RegistryRequest) -> None:
        if not (request.startedWriting or request.gone):
            request.write(b"")

    def check(self) -> None:
        """Close the connections of clients that have read nothing since the last check."""
        for sender, (request, sent) in list(self._watched.items()):
            if sender.paused and sender.sent == sent:
                self._log.info("a client has stopped reading; its connection is closed")
                request.abort("the client has stopped reading")
            else:
                self._watched[sender] = (request, sender.sent)
