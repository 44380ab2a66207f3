"""Bodies that are encoded, undone piece by piece and not beyond a limit."""

from __future__ import annotations

import zlib
from typing import Final

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

from oci_registry.streams.body import BodyError, BodyPump, BodyTooLong
from oci_registry.streams.pressure import BackPressure

GZIP: Final = "gzip"
DEFLATE: Final = "deflate"
UNDONE: Final = frozenset({GZIP, DEFLATE})
"""The codings that can be undone here."""

PIECE = 256 * 1024
"""Bytes that are inflated at once, in well under a millisecond,"""
SLICE = 64 * 1024
"""from as many encoded bytes, which cost 8 ms where they are made to be slow."""
PEEKED = 512
"""Bytes of a body that are enough to guess what is in it."""
FREE = 64 * 1024 * 1024
"""Bytes that a body may have when it is inflated, however few it had before,"""
RATIO = 100
"""and how many for each that it had, where its length is not known."""
_MEMBER = 1024
"""Bytes that the members of a gzip file have on the average, but for the first 64."""


class Inflater:
    """Undo gzip or deflate (RFC 9110 section 8.4.1), as much at a time as is asked for.

    Raises `BodyError` for what is not encoded so.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._input = bytearray()
        self._full = False
        self._members = 0
        self._produced = 0
        self._zlib: zlib._Decompress | None = None

    @property
    def pending(self) -> bool:
        """Whether `take` gets on without more input."""
        return self._full or len(self._input) >= (2 if self._zlib is None else 1)

    @property
    def backlog(self) -> int:
        """Encoded bytes that wait."""
        return len(self._input)

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        self._input += data

    def take(self, most: int) -> bytes:
        """Return up to *most* bytes, from no more than `SLICE` encoded ones; perhaps none."""
        if self._zlib is None:
            self._zlib = self._begin()
            if self._zlib is None:
                return b""
        piece = bytes(self._input[:SLICE])
        try:
            out = self._zlib.decompress(piece, most)
        except zlib.error:
            raise BodyError(f"the body is not encoded as {self._coding}") from None
        self._produced += len(out)
        self._full = len(out) == most and not self._zlib.eof
        left = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        del self._input[: len(piece) - len(left)]
        if self._zlib.eof:
            self._end_member()
        return out

    def finish(self) -> None:
        """There is no more input; raises `BodyError` if something is missing."""
        if self._input or self._zlib is not None or not self._members:
            raise BodyError("the body is not encoded to its end")

    def _begin(self) -> zlib._Decompress | None:
        """Return what undoes the next member, None as long as it is not clear what it is."""
        if len(self._input) < 2:
            return None
        if self._coding == GZIP:
            return zlib.decompressobj(31)
        # What is called deflate is sent with and without that header.
        wrapped = _has_zlib_header(self._input)
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _end_member(self) -> None:
        self._zlib = None
        self._members += 1
        # Each member costs as much as some thousand bytes.
        if (self._members - 64) * _MEMBER > self._produced:
            raise BodyError("the body is made of too many pieces")
        if self._input and self._coding != GZIP:
            raise BodyError("the body goes on after its end")


def looks_encoded(first: bytes, coding: str) -> bool:
    """Guess from the *first* bytes of a blob whether they were encoded on the way.

    Some servers name the coding of what they store: of a layer that is gzip itself. Others encode
    whatever they send. What is a tar archive when it is inflated is a layer of the first kind.
    """
    # Nearly everything could be the deflate that has no header.
    if coding == DEFLATE and not _has_zlib_header(first):
        return False
    inflated = _peek(first, coding)
    return bool(inflated) and inflated[257:262] != b"ustar"


def _has_zlib_header(first: bytes | bytearray) -> bool:
    """Return whether data begins as RFC 1950 says."""
    return len(first) >= 2 and first[0] & 0x0F == 8 and (first[0] << 8 | first[1]) % 31 == 0


def _peek(first: bytes, coding: str) -> bytes:
    """Return the beginning of what is in *first*; nothing if that is not encoded."""
    inflater = Inflater(coding)
    inflater.feed(first)
    try:
        return inflater.take(PEEKED)
    except BodyError:
        return b""


@implementer(IConsumer, IPushProducer)
class InflatingPump:
    """Write a body to *consumer*, either as it came or inflated.

    *inflate*: which, where it can be inflated at all; None leaves it to `looks_encoded`. `inflating`
    tells what was chosen, None until then. More than *limit* bytes are not inflated, or where it is
    None, out of all proportion. In each of the reactor's rounds `PIECE` bytes at most are. See
    `BodyPump` for *idle* and *expected*.
    """

    def __init__(
        self,
        consumer: IConsumer,
        clock: IReactorTime,
        idle: float,
        expected: int | None,
        coding: str,
        *,
        inflate: bool | None,
        limit: int | None,
    ) -> None:
        self.inflating: bool | None = None
        self._inflate = inflate
        self._consumer = consumer
        self._clock = clock
        self._coding = coding
        self._limit = limit
        self._inflater = Inflater(coding)
        self._first = b""
        self._produced = 0
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
        """Take bytes as they came."""
        if self._over:
            return
        if self.inflating is None:
            self._first += data
            if len(self._first) >= PEEKED:
                self._decide()
        elif self.inflating:
            self._inflater.feed(data)
        else:
            self._pass_on(data)
        self._go_on()

    def _decide(self) -> None:
        """Choose, and do with the first bytes what is chosen."""
        first, self._first = self._first, b""
        if self._inflate is None:
            self.inflating = looks_encoded(first, self._coding)
        else:
            self.inflating = self._inflate and bool(_peek(first, self._coding))
        if self.inflating:
            self._inflater.feed(first)
        else:
            self._pass_on(first)

    def _arrived(self, failure: Failure | None) -> None:
        """No more will arrive, be it that *failure* has happened; what waits is inflated all the same."""
        self._ended = True
        self._failure = failure
        if self.inflating is None and not self._over:
            self._decide()
        self._go_on()

    def _go_on(self) -> None:
        """Inflate more in the reactor's next round, or let more arrive, or end."""
        if self._over:
            return
        if self._inflater.pending:
            if self._call is None and not self._paused:
                self._call = self._clock.callLater(0, self._inflate_piece)
        elif self._ended:
            self._end()
        self._flow()

    def _flow(self) -> None:
        """Let the body arrive only as fast as it is inflated and read."""
        # A few bytes that wait are no reason: a trickle would never be noticed as one.
        if self._paused:
            self._pressure.pause()
        else:
            self._pressure.update(self._inflater.backlog)

    def _inflate_piece(self) -> None:
        self._call = None
        try:
            data = self._inflater.take(PIECE)
        except BodyError:
            self._finish(Failure())
            return
        limit = FREE + RATIO * self._pump.received if self._limit is None else self._limit
        left = limit - self._produced
        # A reader that knows how long the body is has it all, and may find that it is wrong.
        self._pass_on(data[:left])
        if len(data) > left:
            error = BodyTooLong(f"the body has more than {limit} bytes when it is inflated")
            self._finish(Failure(error))
            return
        self._go_on()

    def _pass_on(self, data: bytes) -> None:
        self._produced += len(data)
        if data:
            self._consumer.write(data)

    def _end(self) -> None:
        try:
            if self.inflating and self._failure is None:
                self._inflater.finish()
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
        """The consumer wants no more at all: close the connection."""
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
            self._done.callback(self._produced)
        else:
            self._done.errback(failure)
