"""Encoded bodies are undone piece by piece, never further than is wanted."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.body import BodyError, BodyStalled, BodyTooLong
from oci_registry.streams.inflate import (
    DEFLATE,
    FREE,
    GZIP,
    PIECE,
    RATIO,
    SLICE,
    BodyDecoder,
    Inflater,
    looks_encoded,
)
from oci_registry.streams.inflating_pump import InflatingPump
from tests.support.patterns import pattern
from tests.support.streams import FakeConsumer
from tests.unit.streams.test_body import BodyTestCase

IDLE = 20.0
MIB = 1024 * 1024


def bare(data: bytes) -> bytes:
    """Return *data* as deflate without a header."""
    return zlib.compress(data)[2:-4]


def tar(data: bytes) -> bytes:
    """Return an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Inflating(SynchronousTestCase):
    """Bytes, encoded and undone."""

    def inflate(self, coding: str, data: bytes, step: int = 1000, most: int = 999) -> bytes:
        """Undo *data*, given and taken in pieces."""
        inflater = Inflater(coding)
        out = b""
        for start in range(0, len(data), step):
            inflater.feed(data[start : start + step])
            while inflater.pending:
                piece = inflater.take(most)
                self.assertLessEqual(len(piece), most)
                out += piece
        inflater.finish()
        return out

    @given(st.binary(max_size=3000), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
    def test_round_trip(self, data: bytes, step: int, most: int, level: int) -> None:
        """Whatever the pieces, what comes out is what was encoded."""
        for coding, encoded in (
            (GZIP, gzip.compress(data, level)),
            (GZIP, gzip.compress(data[:7], level) + gzip.compress(data[7:], level)),
            (DEFLATE, zlib.compress(data, level)),
        ):
            self.assertEqual(data, self.inflate(coding, encoded, step, most))

    def test_bare_deflate(self) -> None:
        """Deflate is undone without its header, too."""
        self.assertEqual(pattern(5000), self.inflate(DEFLATE, bare(pattern(5000))))

    @given(st.binary(min_size=1, max_size=300), st.sampled_from([GZIP, DEFLATE]))
    def test_anything(self, data: bytes, coding: str) -> None:
        """Whatever arrives is undone or refused."""
        with contextlib.suppress(BodyError):
            self.inflate(coding, data, 7, 7)

    def test_incomplete(self) -> None:
        """What ends too early, or continues after its end, is refused."""
        encoded = gzip.compress(b"data")
        for data in (b"", b"\x1f", encoded[:-1], encoded[:5], encoded + b"x", encoded + b"xyz"):
            self.assertRaises(BodyError, self.inflate, GZIP, data)
        self.assertRaises(BodyError, self.inflate, DEFLATE, zlib.compress(b"data") + b"x")

    def test_many_members(self) -> None:
        """A file of thousands of empty members is refused, one of many full ones is not."""
        self.assertRaises(BodyError, self.inflate, GZIP, gzip.compress(b"") * 1000)
        self.assertEqual(
            pattern(2000) * 200, self.inflate(GZIP, gzip.compress(pattern(2000)) * 200)
        )

    def test_bomb(self) -> None:
        """However much there is in a few bytes, no more is inflated than is taken."""
        inflater = Inflater(GZIP)
        inflater.feed(gzip.compress(bytes(4 * MIB), 1))
        self.assertEqual(1000, len(inflater.take(1000)))
        self.assertTrue(inflater.pending)

    def test_guess(self) -> None:
        """A layer that is gzip itself is taken as it is; what was encoded on the way is seen."""
        layer = gzip.compress(tar(pattern(5000)))
        for first, coding, encoded in (
            (layer, GZIP, False),
            (gzip.compress(layer), GZIP, True),
            (gzip.compress(b'{"config": {}}'), GZIP, True),
            (zlib.compress(layer), DEFLATE, True),
            (layer, DEFLATE, False),
            (pattern(5000), GZIP, False),
            (b"", GZIP, False),
            (b"\x1f", GZIP, False),
            (b'{"config": {}}', DEFLATE, False),
        ):
            self.assertEqual(encoded, looks_encoded(first[:512], coding), first[:20])


class Reader(FakeConsumer):
    """A consumer that asks for a pause after each piece if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pausing = False
        self.longest = 0

    def write(self, data: bytes) -> None:
        """Take a piece."""
        super().write(data)
        self.longest = max(self.longest, len(data))
        if self.pausing:
            assert self.producer is not None
            self.producer.pauseProducing()  # type: ignore[attr-defined]


class Pumping(BodyTestCase):
    """Encoded bodies from Twisted's own client over a string."""

    def begin(
        self,
        encoded: bytes,
        *,
        inflate: bool | None = None,
        limit: int | None = 100 * MIB,
        coding: str = GZIP,
        length: int | None = None,
        free: int = FREE,
    ) -> Deferred[int]:
        """Send a body and begin to pump it."""
        self.reader = Reader()
        expected = len(encoded) if length is None else length
        response = self.respond(f"Content-Length: {expected}")
        self.decoder = BodyDecoder(coding, inflate=inflate, limit=limit, free=free)
        pump = InflatingPump(self.reader, self.clock, IDLE, expected, self.decoder)
        done: Deferred[int] = pump.run(response)
        for start in range(0, len(encoded), 50_000):
            self.receive(encoded[start : start + 50_000])
        return done

    def rounds(self) -> None:
        """Let the reactor go round until nothing is left to do at once."""
        self.clock.advance(0)

    def calls(self) -> Any:
        return self.clock.getDelayedCalls()

    def ends(self, done: Deferred[int], data: bytes, *, inflated: bool) -> None:
        """The body ends, and *data* was written."""
        self.rounds()
        self.assertEqual(len(data), self.successResultOf(done))
        self.assertTrue(self.reader.data == data)
        self.assertIsNone(self.reader.producer)
        self.assertIs(inflated, self.decoder.inflating)
        self.assertEqual([], self.calls())

    def fails(self, done: Deferred[int], kind: type[BodyError]) -> str:
        """It fails, and the connection is closed."""
        error = str(self.failureResultOf(done, kind).value)
        self.assertIsNone(self.reader.producer)
        self.assertEqual([], self.calls())
        return error

    def test_inflated(self) -> None:
        """A body that was encoded on the way is undone."""
        data = pattern(3 * MIB)
        encoded = gzip.compress(data, 1)
        self.ends(self.begin(encoded, inflate=True), data, inflated=True)
        self.setUp()
        self.ends(self.begin(encoded), data, inflated=True)

    def test_as_it_came(self) -> None:
        """A body that is the blob itself is left as it is."""
        layer = gzip.compress(tar(pattern(MIB)), 1)
        for inflate in (None, False):
            self.setUp()
            self.ends(self.begin(layer, inflate=inflate), layer, inflated=False)

    def test_not_encoded(self) -> None:
        """What cannot be inflated is left as it is, whatever is wanted."""
        for inflate in (None, True):
            for data in (pattern(100_000), b"short", b""):
                self.setUp()
                self.ends(self.begin(data, inflate=inflate), data, inflated=False)

    def test_short(self) -> None:
        """A body shorter than what is looked at first is undone at its end."""
        self.ends(self.begin(gzip.compress(b"{}")), b"{}", inflated=True)

    def test_bomb(self) -> None:
        """A body that inflates beyond the limit fails there, a piece in each round."""
        done = self.begin(gzip.compress(bytes(12 * MIB), 1), limit=8 * MIB)
        self.rounds()
        self.assertIn("more than 8388608 bytes", self.fails(done, BodyTooLong))
        self.assertEqual(8 * MIB, len(self.reader.data))
        self.assertEqual(PIECE, self.reader.longest)

    def test_bomb_without_a_limit(self) -> None:
        """Where nobody knows the length, a body that grows out of all proportion fails."""
        encoded = gzip.compress(bytes(4 * MIB), 9)
        self.ends(self.begin(encoded, limit=None, free=4 * MIB), bytes(4 * MIB), inflated=True)
        self.setUp()
        done = self.begin(gzip.compress(bytes(6 * MIB), 9), limit=None, free=4 * MIB)
        self.rounds()
        self.fails(done, BodyTooLong)

    def test_default_limit(self) -> None:
        """Nobody need name that proportion."""
        encoded = gzip.compress(bytes(80 * MIB), 9)
        self.assertGreater(80 * MIB, FREE + RATIO * len(encoded))
        decoder = BodyDecoder(GZIP, inflate=True, limit=None)
        decoder.feed(encoded)
        decoder.end()
        with self.assertRaises(BodyTooLong):
            while decoder.pending:
                decoder.take()
                decoder.check()

    def test_pauses(self) -> None:
        """A reader that pauses gets nothing until it wants more, and no more arrives meanwhile."""
        data = pattern(MIB)
        done = self.begin(gzip.compress(data, 0))
        self.reader.pausing = True
        seen = 0
        while not done.called:
            self.rounds()
            self.assertLess(len(self.reader.data) - seen, PIECE + 1)
            seen = len(self.reader.data)
            if not done.called:
                self.reader.producer.resumeProducing()  # type: ignore[union-attr]
        self.ends(done, data, inflated=True)

    def test_backlog(self) -> None:
        """No more arrives than is inflated."""
        encoded = gzip.compress(pattern(4 * MIB), 0)
        done = self.begin(encoded[: 3 * SLICE], length=len(encoded))
        self.assertEqual("paused", self.socket.producerState)
        self.rounds()
        self.assertEqual("producing", self.socket.producerState)
        self.receive(encoded[3 * SLICE :])
        self.ends(done, pattern(4 * MIB), inflated=True)

    def test_broken(self) -> None:
        """A body that is not encoded to its end fails."""
        encoded = gzip.compress(pattern(MIB), 1)
        for damaged in (encoded[:-9], encoded[:-4] + bytes(4), encoded + b"more"):
            self.setUp()
            done = self.begin(damaged)
            self.rounds()
            self.fails(done, BodyError)

    def test_breaks(self) -> None:
        """A connection that breaks fails the body, after all that has arrived."""
        encoded = gzip.compress(pattern(MIB), 0)
        done = self.begin(encoded[:300_000], length=len(encoded))
        self.socket.end(ConnectionResetError())
        self.assertNoResult(done)
        self.rounds()
        self.assertGreater(len(self.reader.data), 299_000)
        self.assertIn("broke after 300000 bytes", self.fails(done, BodyError))

    def test_trickle(self) -> None:
        """A body of which hardly anything arrives is given up, inflated or not."""
        encoded = gzip.compress(pattern(MIB), 0)
        done = self.begin(encoded[:1000], length=len(encoded))
        for number in range(60):
            self.receive(encoded[1000 + number : 1001 + number])
            self.clock.advance(1)
        self.fails(done, BodyStalled)

    def test_stopped(self) -> None:
        """A reader that wants no more, or cancels, has the connection closed."""
        encoded = gzip.compress(pattern(MIB), 0)
        for cancel in (True, False):
            self.setUp()
            done = self.begin(encoded[:300_000], length=len(encoded))
            if cancel:
                done.cancel()
            else:
                self.reader.producer.stopProducing()  # type: ignore[union-attr]
            self.fails(done, BodyError)
            self.assertTrue(self.socket.disconnected)
