"""Writes the body of a response to a consumer, with flow control, an idle limit and a length check."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse
from zope.interface import implementer

from oci_registry.streams.memory import REUSED

RECEIVE_SIZE = REUSED
"""Bytes asked of the socket at once while a body is read; Twisted's default is 64 KiB.

The memory of a larger piece would be new each time, and the kernel takes longer to hand it out than to copy
the bytes into it.
"""

SLOWEST = 16 * 1024
"""Bytes that must arrive within the idle time; fewer count as no progress."""


class BodyError(Exception):
    """The body did not arrive completely; the message says what happened."""


class BodyStalled(BodyError):
    """Too few bytes arrived within the idle time."""


class BodyTooLong(BodyError):
    """The body is longer than the reader accepts."""


def _real_transport(transport: object) -> Any:
    """Return the transport behind the proxy that an Agent passes to body protocols.

    The proxy offers neither a hard close nor the receive size. If there is no transport behind it
    (another version, a fake in a test), the proxy itself is returned, and both features are
    unavailable.
    """
    return getattr(transport, "_producer", None) or transport


@implementer(IPushProducer)
class BodyPump(Protocol):
    """Writes a body to *consumer*, which pauses and resumes it.

    *expected*: the length in bytes that the body must have, or None. *idle*: seconds without a byte,
    not counting pauses, after which the body fails; it also fails if less than `SLOWEST` bytes arrive
    within that time.
    """

    def __init__(
        self, consumer: IConsumer, clock: IReactorTime, idle: float, expected: int | None
    ) -> None:
        self.received = 0
        self._consumer = consumer
        self._clock = clock
        self._idle = idle
        self._expected = expected
        self._paused = False
        self._over = False
        self._heard = self._since = clock.seconds()
        self._received_then = 0
        self._timer: IDelayedCall | None = None
        self._done: Deferred[int] = Deferred(lambda _: self.stopProducing())

    def run(self, response: IResponse) -> Deferred[int]:
        """Start; return a Deferred of the body's length.

        It fails with a `BodyError`; when cancelled, the connection is closed.
        """
        self._timer = self._clock.callLater(self._idle, self._check)
        response.deliverBody(self)
        if self._paused and not self._over:
            # deliverBody resumes the transport when it returns, even if it was paused before.
            self._transport().pauseProducing()
        return self._done

    def _transport(self) -> IPushProducer:
        return cast(IPushProducer, self.transport)

    def connectionMade(self) -> None:
        """The body is about to arrive."""
        real = _real_transport(self.transport)
        if hasattr(real, "bufferSize"):
            real.bufferSize = RECEIVE_SIZE
        self._consumer.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._over:
            return
        self._heard = self._clock.seconds()
        self.received += len(data)
        if self._expected is not None and self.received > self._expected:
            self._give_up(
                BodyTooLong(f"upstream sent more than the {self._expected} bytes it announced")
            )
            return
        self._consumer.write(data)

    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:  # noqa: B008
        """The body has ended, in order or not."""
        if self._over:
            return
        # A body without a length ends with the connection: the digest decides whether it is complete.
        if not reason.check(ResponseDone, PotentialDataLoss):
            error = BodyError(f"the upstream connection broke after {self.received} bytes")
            self._finish(Failure(error))
        elif self._expected is not None and self.received != self._expected:
            error = BodyError(f"upstream sent {self.received} of {self._expected} bytes")
            self._finish(Failure(error))
        else:
            self._finish(None)

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        if not self._over:
            self._paused = True
            self._transport().pauseProducing()

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        if not self._over:
            self._paused = False
            self._begin_period(self._clock.seconds())
            self._transport().resumeProducing()

    def stopProducing(self) -> None:
        """The consumer needs no more bytes: close the connection."""
        self._give_up(BodyError("the download was given up"))

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        if self._paused:
            self._begin_period(now)
        elif now >= self._heard + self._idle:
            self._give_up(BodyStalled(f"upstream sent nothing for {self._idle:g} s"))
            return
        elif now >= self._since + self._idle:
            arrived = self.received - self._received_then
            if arrived < SLOWEST:
                self._give_up(
                    BodyStalled(f"upstream sent only {arrived} bytes in {self._idle:g} s")
                )
                return
            self._since, self._received_then = now, self.received
        until = min(self._heard, self._since) + self._idle
        self._timer = self._clock.callLater(max(until - now, 0), self._check)

    def _begin_period(self, now: float) -> None:
        self._heard = self._since = now
        self._received_then = self.received

    def _give_up(self, error: BodyError) -> None:
        if self._over:
            return
        transport = self.transport
        self._finish(Failure(error))
        if transport is not None:
            real = _real_transport(transport)
            close = getattr(real, "abortConnection", None) or transport.loseConnection
            close()

    def _finish(self, failure: Failure | None) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._consumer.unregisterProducer()
        if self._done.called:
            return
        if failure is None:
            self._done.callback(self.received)
        else:
            self._done.errback(failure)


@implementer(IConsumer)
class _Collector:
    """Collects a body in memory, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.chunks: list[bytes] = []
        self.over = False
        self._left = limit
        self._producer: IProducer | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self.chunks.append(data)
            return
        self.over = True
        if self._producer is not None:
            self._producer.stopProducing()


async def collect(response: IResponse, limit: int, clock: IReactorTime, idle: float) -> bytes:
    """Read a whole body of at most *limit* bytes.

    Raises `BodyTooLong` as soon as there is more, without reading it, and `BodyError` when it breaks.
    """
    length = response.length if isinstance(response.length, int) else None
    collector = _Collector(limit)
    if length is not None and length > limit:
        abandon(response, clock)
        raise BodyTooLong(f"the body has {length} bytes, more than {limit}")
    try:
        await BodyPump(collector, clock, idle, length).run(response)
    except BodyError:
        if collector.over:
            raise BodyTooLong(f"the body has more than {limit} bytes") from None
        raise
    return b"".join(collector.chunks)


def abandon(response: IResponse, clock: IReactorTime, limit: int = 64 * 1024) -> None:
    """Discard a body; if it is short, the connection is kept for the next request."""
    collector = _Collector(limit)
    length = response.length if isinstance(response.length, int) else None
    pump = BodyPump(collector, clock, 5.0, length)
    done = pump.run(response)
    if length is not None and length > limit:
        pump.stopProducing()
    done.addErrback(lambda failure: failure.trap(BodyError) and None)
