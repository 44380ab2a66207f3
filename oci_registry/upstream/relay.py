"""One producer for a body's reader, whichever connection sends at the moment."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from zope.interface import implementer

from oci_registry.streams.pressure import BackPressure


@implementer(IConsumer, IPushProducer)
class Relay:
    """The one producer that the consumer sees, whichever host sends at the moment.

    *position* is the offset of the consumer's next byte in the blob. Bytes before it are skipped, and a
    host that sends more is stopped at *stop*.
    """

    def __init__(self, consumer: IConsumer, position: int, stop: int | None) -> None:
        self.position = position
        self.stopped = False
        self.senders: set[str] = set()
        self._stop = stop
        self._consumer = consumer
        self._pressure = BackPressure(0)
        self._incoming = position
        self._ends: int | None = None
        self._sender = ""
        self._running: Deferred[None] | None = None

    def begin(self, running: Deferred[None]) -> None:
        """Begin; *running* is the transfer, which is cancelled when the consumer stops."""
        self._running = running

    def expect(self, sender: str, start: int, end: int | None) -> None:
        """Expect bytes from the host *sender*, from *start* to *end* of the blob (None: unknown)."""
        self._sender = sender
        self._incoming = start
        self._ends = end

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the producer of the next connection."""
        self._pressure.register(producer)

    def unregisterProducer(self) -> None:
        """The connection has ended."""
        self._pressure.unregister()

    def write(self, data: bytes) -> None:
        """Pass on what the consumer does not have yet."""
        skipped = self.position - self._incoming
        self._incoming += len(data)
        if skipped > 0:
            data = data[skipped:]
        if self._stop is not None:
            data = data[: self._stop - self.position]
        if data:
            self.position += len(data)
            self.senders.add(self._sender)
            self._consumer.write(data)
        # If the body ends here by itself, its connection can be reused.
        if self.position == self._stop != self._ends:
            self._pressure.stop()

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._pressure.pause()

    def resumeProducing(self) -> None:
        """The consumer is ready for more bytes."""
        self._pressure.resume()

    def stopProducing(self) -> None:
        """The consumer needs no more bytes: cancel the transfer."""
        self.stopped = True
        registered = self._pressure.registered
        # A body that has not begun yet is stopped as soon as it begins.
        self._pressure.stop()
        if not registered and self._running is not None:
            self._running.cancel()
