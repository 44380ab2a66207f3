"""Send a source to a consumer: a push producer that writes 256 KiB at a time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.streams.interfaces import Source

CHUNK = 256 * 1024
"""Bytes per write: large enough that the cost per write does not count."""
FRAMED = CHUNK - 16
"""Bytes per write if the length is not known: with the chunk framing (RFC 9112 section 7.1) at most
`CHUNK`, which Twisted sends in two halves; a few more bytes would cost another system call each
time."""


class BytesSource:
    """Bytes in memory, as a `Source`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        start, self._position = self._position, self._position + limit
        return self._data[start : self._position]

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class ConsumerGone(Exception):
    """The consumer stopped the producer: its client has left."""


@implementer(IPushProducer)
class Sender:
    """Writes *count* bytes of *source* to *consumer* (all of it if *count* is None).

    The source is closed at the end, also after an error. `sent` counts the bytes written so far;
    `paused`: the consumer has enough for now.
    """

    def __init__(self, source: Source, consumer: IConsumer, count: int | None) -> None:
        self.sent = 0
        self._source = source
        self._consumer = consumer
        self._left = count
        self.paused = False
        self._reading: Deferred[bytes] | Deferred[None] | None = None
        self._pumping = False
        self._over = False
        self._done: Deferred[int] = Deferred(lambda _: self.stopProducing())

    def start(self) -> Deferred[int]:
        """Begin; return a Deferred of the number of bytes sent.

        It fails with the source's error, or with `ConsumerGone`; it may be cancelled.
        """
        self._consumer.registerProducer(self, True)
        self._pump()
        return self._done

    def pauseProducing(self) -> None:
        """The consumer's buffer is full."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The consumer's buffer is empty."""
        self.paused = False
        self._pump()

    def stopProducing(self) -> None:
        """The consumer wants no more."""
        self._end(Failure(ConsumerGone()))

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while not (self.paused or self._over or self._reading is not None):
                if self._left == 0:
                    self._end(None)
                    return
                self._send_next()
        except Exception:
            self._end(Failure())
        finally:
            self._pumping = False

    def _send_next(self) -> None:
        limit = FRAMED if self._left is None else min(CHUNK, self._left)
        data = self._source.read(limit)
        if isinstance(data, Deferred):
            self._reading = data
            data.addCallbacks(self._arrived, self._failed)
        else:
            self._write(data)

    def _arrived(self, data: bytes) -> None:
        self._reading = None
        if not self._over:
            self._write(data)
            self._pump()

    def _failed(self, failure: Failure) -> None:
        self._reading = None
        self._end(failure)

    def _write(self, data: bytes) -> None:
        if not data:
            short = self._left is not None
            self._end(Failure(EOFError("the source ended early")) if short else None)
            return
        self.sent += len(data)
        if self._left is not None:
            self._left -= len(data)
        self._consumer.write(data)

    def _end(self, failure: Failure | None) -> None:
        if self._over:
            return
        self._over = True
        # It refers to this, and would do so for as long as this to it.
        self._reading = None
        self._source.close()
        self._consumer.unregisterProducer()
        if self._done.called:
            return
        if failure is None:
            self._done.callback(self.sent)
        else:
            self._done.errback(failure)
