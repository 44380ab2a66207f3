"""Writes the body of an upstream's response to a consumer, inflated if it was encoded in transit."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IPushProducer,
    IReactorTime,
)
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse
from zope.interface import implementer

from oci_registry.streams.body import BodyError, BodyPump
from oci_registry.streams.inflate import SLICE, BodyDecoder
from oci_registry.streams.pressure import BackPressure


@implementer(IConsumer, IPushProducer)
class InflatingPump:
    """Writes a body to *consumer* as the *decoder* returns it.

    One piece is inflated in each iteration of the reactor. See `BodyPump` for *idle* and *expected*.
    """

    def __init__(
        self,
        consumer: IConsumer,
        clock: IReactorTime,
        idle: float,
        expected: int | None,
        decoder: BodyDecoder,
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._decoder = decoder
        self._written = 0
        self._paused = False
        self._ended = False
        self._failure: Failure | None = None
        self._over = False
        self._pressure = BackPressure(SLICE, SLICE)
        self._call: IDelayedCall | None = None
        self._pump = BodyPump(self, clock, idle, expected)
        self._done: Deferred[int] = Deferred(lambda _: self.stopProducing())

    def run(self, response: IResponse) -> Deferred[int]:
        """Start; return a Deferred of the number of bytes written.

        It fails with a `BodyError`; when cancelled, the connection is closed.
        """
        self._consumer.registerProducer(self, True)
        self._pump.run(response).addCallbacks(lambda _: self._arrived(None), self._arrived)
        return self._done

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """The body is about to arrive."""
        self._pressure.register(producer)

    def unregisterProducer(self) -> None:
        """No more of the body will arrive."""
        self._pressure.unregister()

    def write(self, data: bytes) -> None:
        """Take bytes as they were sent."""
        if not self._over:
            self._pass_on(self._decoder.feed(data))
            self._go_on()

    def _arrived(self, failure: Failure | None) -> None:
        """No more will arrive, because of *failure* if it is given; waiting data is still inflated."""
        self._ended = True
        self._failure = failure
        if not self._over:
            self._pass_on(self._decoder.end())
            self._go_on()

    def _go_on(self) -> None:
        """Inflate more in the next iteration of the reactor, or let more arrive, or end."""
        if self._over:
            return
        if self._decoder.pending:
            if self._call is None and not self._paused:
                self._call = self._clock.callLater(0, self._inflate_piece)
        elif self._ended:
            self._end()
        self._flow()

    def _flow(self) -> None:
        """Let the body arrive only as fast as it is inflated and read."""
        # A few waiting bytes do not pause it: otherwise a slow server would never count as slow.
        if self._paused:
            self._pressure.pause()
        else:
            self._pressure.update(self._decoder.backlog)

    def _inflate_piece(self) -> None:
        self._call = None
        try:
            # A reader that knows the length has received all of it, and may find that it is wrong.
            self._pass_on(self._decoder.take())
            self._decoder.check()
        except BodyError:
            self._finish(Failure())
        else:
            self._go_on()

    def _pass_on(self, data: bytes) -> None:
        self._written += len(data)
        if data:
            self._consumer.write(data)

    def _end(self) -> None:
        try:
            if self._failure is None:
                self._decoder.finish()
        except BodyError:
            self._failure = Failure()
        self._finish(self._failure)

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._paused = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._flow()

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The consumer needs no more bytes: close the connection."""
        self._finish(Failure(BodyError("the download was given up")))

    def _finish(self, failure: Failure | None) -> None:
        if self._over:
            return
        self._over = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._pressure.stop()
        self._consumer.unregisterProducer()
        if failure is None:
            self._done.callback(self._written)
        else:
            self._done.errback(failure)
