"""A consumer that counts its bytes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer


@implementer(IConsumer)
class Metered:
    """Passes everything on to *consumer*, and the number of bytes of each write to *count*."""

    def __init__(self, consumer: IConsumer, count: Callable[[int], object]) -> None:
        self._consumer = consumer
        self._count = count

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pass the producer on."""
        self._consumer.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer has ended."""
        self._consumer.unregisterProducer()

    def write(self, data: bytes) -> None:
        """Count bytes, and pass them on."""
        self._count(len(data))
        self._consumer.write(data)
