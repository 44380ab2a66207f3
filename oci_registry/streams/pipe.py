"""Bytes from one producer to one reader, with a small buffer."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer

from oci_registry.streams.pressure import BackPressure

HIGH_WATER = 512 * 1024
"""Bytes waiting for the reader above which the producer is paused."""


@implementer(IConsumer)
class Pipe:
    """A consumer that is also a `Source`: whatever is written to it can be read from it, once.

    Its producer is paused while much waits to be read, and stopped when the reader closes the pipe.
    The writer ends it with `end`. `received` counts the bytes so far.
    """

    def __init__(self) -> None:
        self.received = 0
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._pressure = BackPressure(HIGH_WATER)
        self._ended = False
        self._error: Exception | None = None
        self._closed = False
        self._waiting: Deferred[None] | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the push producer, which is paused and resumed as needed."""
        self._pressure.register(producer)

    def unregisterProducer(self) -> None:
        """The producer has nothing more to write."""
        self._pressure.unregister()

    def write(self, data: bytes) -> None:
        """Take bytes, in order."""
        if self._closed or not data:
            return
        self._chunks.append(data)
        self._size += len(data)
        self.received += len(data)
        self._pressure.update(self._size)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """End the bytes; *error*: why they are incomplete. Idempotent."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, or a Deferred of them; ``b""`` at the end.

        Raises, or fails with, the error of `end` after everything before it has been read.
        """
        if self._chunks:
            return self._take(limit)
        if self._error is not None:
            raise self._error
        if self._ended or self._closed:
            return b""
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        return waiting.addCallback(lambda _: self.read(limit))

    def _take(self, limit: int) -> bytes:
        data = self._chunks.popleft()
        if len(data) > limit:
            self._chunks.appendleft(data[limit:])
            data = data[:limit]
        self._size -= len(data)
        self._pressure.update(self._size)
        return data

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def close(self) -> None:
        """Stop the producer, since the reader has left. Idempotent."""
        self._closed = True
        self._waiting = None
        self._chunks.clear()
        self._size = 0
        self._pressure.stop()
