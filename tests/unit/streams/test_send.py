"""A source is sent to a consumer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry.streams.send import CHUNK, BytesSource, ConsumerGone, Sender
from tests.support.streams import FakeConsumer

DATA = bytes(range(256)) * 5 * 1024


class FakeSource:
    """Bytes that come at once, or when the test says so."""

    def __init__(self, data: bytes = DATA, *, late: bool = False) -> None:
        self.closed = 0
        self.limits: list[int] = []
        self.reading: list[tuple[Deferred[bytes], bytes]] = []
        self.error: Exception | None = None
        self._data = data
        self._late = late
        self._position = 0

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return what comes next."""
        assert not self.closed
        assert not self.reading, "two reads at a time"
        self.limits.append(limit)
        if self.error is not None:
            raise self.error
        data = self._data[self._position : self._position + limit]
        self._position += len(data)
        if not self._late:
            return data
        reading: Deferred[bytes] = Deferred()
        self.reading.append((reading, data))
        return reading

    def arrive(self) -> None:
        """Let what is being read arrive."""
        reading, data = self.reading.pop()
        reading.callback(data)

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class SenderTests(SynchronousTestCase):
    """One source, one consumer."""

    def begin(
        self, count: int | None = None, *, late: bool = False, pause_every: int | None = None
    ) -> None:
        """Start to send."""
        self.source = FakeSource(late=late)
        self.consumer = FakeConsumer(pause_every)
        self.sender = Sender(self.source, self.consumer, count)
        self.done = self.sender.start()

    def check_over(self) -> None:
        """The source is closed, once, and the consumer rid of its producer."""
        self.assertEqual(self.source.closed, 1)
        self.assertTrue(self.consumer.finished)

    def test_whole(self) -> None:
        """The whole source is written, in pieces of 256 KiB."""
        self.begin(len(DATA))
        self.assertEqual(self.successResultOf(self.done), len(DATA))
        self.assertTrue(self.consumer.data == DATA)
        self.assertEqual({len(c) for c in self.consumer.chunks}, {CHUNK})
        self.assertEqual(CHUNK, 256 * 1024)
        self.check_over()
        verifyObject(IPushProducer, self.sender)

    def test_unknown_length(self) -> None:
        """Without a count all is written, in pieces that have 256 KiB with the frame of a chunk."""
        self.begin()
        self.assertEqual(self.successResultOf(self.done), len(DATA))
        self.assertTrue(self.consumer.data == DATA)
        for piece in self.consumer.chunks:
            self.assertLessEqual(len(b"%x\r\n%b\r\n" % (len(piece), piece)), CHUNK)
        self.assertGreater(len(self.consumer.chunks[0]), CHUNK - 20)
        self.check_over()

    def test_count(self) -> None:
        """Exactly as many bytes as promised are written, and no more are read."""
        for count in (0, 1, CHUNK, CHUNK + 1, len(DATA)):
            self.begin(count)
            self.assertEqual(self.successResultOf(self.done), count)
            self.assertTrue(self.consumer.data == DATA[:count])
            self.assertEqual(sum(self.source.limits), count)
            self.check_over()

    def test_short_source(self) -> None:
        """A source that ends before the promised count is an error."""
        self.begin(len(DATA) + 1)
        self.failureResultOf(self.done, EOFError)
        self.assertTrue(self.consumer.data == DATA)
        self.check_over()

    def test_pausing(self) -> None:
        """Nothing is written while the consumer has enough."""
        self.begin(len(DATA), pause_every=1)
        for written in range(1, len(DATA) // CHUNK + 1):
            self.assertEqual(len(self.consumer.chunks), written)
            self.assertTrue(self.sender.paused)
            self.assertNoResult(self.done)
            self.sender.resumeProducing()
        self.assertEqual(self.successResultOf(self.done), len(DATA))
        self.check_over()

    def test_late_source(self) -> None:
        """A source that makes us wait is read once at a time, and what has arrived is written."""
        self.begin(len(DATA), late=True)
        for arrived in range(len(DATA) // CHUNK):
            self.assertNoResult(self.done)
            self.assertEqual(self.sender.sent, arrived * CHUNK)
            self.sender.resumeProducing()
            self.source.arrive()
        self.assertEqual(self.successResultOf(self.done), len(DATA))
        self.check_over()

    def test_paused_while_reading(self) -> None:
        """What arrives during a pause is the last that is written before the end of it."""
        self.begin(late=True)
        self.sender.pauseProducing()
        self.source.arrive()
        self.assertEqual((len(self.consumer.chunks), self.source.reading), (1, []))
        self.sender.resumeProducing()
        self.assertEqual(len(self.source.reading), 1)

    def test_stopped(self) -> None:
        """A consumer that leaves stops the sender, wherever it is."""
        for late in (False, True):
            self.begin(late=late, pause_every=1)
            self.sender.stopProducing()
            self.sender.stopProducing()
            self.failureResultOf(self.done, ConsumerGone)
            self.check_over()
            written = len(self.consumer.chunks)
            if late:
                self.source.arrive()
            self.sender.resumeProducing()
            self.sender.pauseProducing()
            self.assertEqual(len(self.consumer.chunks), written)
            self.assertEqual(self.source.closed, 1)

    def test_stopped_by_a_write(self) -> None:
        """A consumer may stop, pause or resume the sender from within a write."""
        self.source = FakeSource()
        self.consumer = FakeConsumer()
        self.sender = Sender(self.source, self.consumer, None)

        def react() -> None:
            self.sender.resumeProducing()
            if len(self.consumer.chunks) == 2:
                self.sender.stopProducing()

        self.consumer.on_write = react
        self.failureResultOf(self.sender.start(), ConsumerGone)
        self.assertEqual(len(self.consumer.chunks), 2)
        self.check_over()

    def test_cancelled(self) -> None:
        """Cancelling ends it like a consumer that leaves."""
        for late in (False, True):
            self.begin(late=late, pause_every=1)
            self.done.cancel()
            failure = self.failureResultOf(self.done, ConsumerGone, CancelledError)
            self.assertIsNotNone(failure)
            self.check_over()

    def test_refused(self) -> None:
        """A consumer whose client has left already says so when it gets its producer."""
        source = FakeSource()

        class Gone(FakeConsumer):
            """A consumer whose client has left."""

            def registerProducer(self, producer: Any, streaming: bool) -> None:
                producer.stopProducing()

        consumer = Gone()
        self.failureResultOf(Sender(source, consumer, None).start(), ConsumerGone)
        self.assertEqual((source.closed, source.limits, consumer.chunks), (1, [], []))

    def test_source_fails(self) -> None:
        """An error of the source ends it, whether the source raises it or it comes late."""
        self.source = FakeSource()
        self.source.error = ValueError("no")
        self.consumer = FakeConsumer()
        self.failureResultOf(Sender(self.source, self.consumer, 5).start(), ValueError)
        self.check_over()
        self.begin(late=True)
        self.source.reading.pop()[0].errback(ValueError("no"))
        self.failureResultOf(self.done, ValueError)
        self.check_over()

    def test_failure_after_the_end(self) -> None:
        """An error that comes when the consumer has left is nobody's."""
        self.begin(late=True)
        self.sender.stopProducing()
        self.failureResultOf(self.done, ConsumerGone)
        self.source.reading.pop()[0].errback(ValueError("no"))
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(
        st.lists(st.sampled_from(["pause", "resume", "arrive"]), max_size=30),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, len(DATA))),
    )
    def test_any_order(self, events: list[str], late: bool, count: int | None) -> None:
        """Whatever the order of pauses and arrivals, what is written is a prefix, in the end all."""
        self.begin(count, late=late, pause_every=2)
        expected = DATA if count is None else DATA[:count]
        for event in [*events, *["resume", "arrive"] * 12]:
            if event == "arrive":
                if self.source.reading:
                    self.source.arrive()
            elif self.consumer.producer is not None:
                producer = self.consumer.producer
                (producer.pauseProducing if event == "pause" else producer.resumeProducing)()
            self.assertTrue(expected.startswith(self.consumer.data))
            self.assertEqual(self.sender.sent, len(self.consumer.data))
        self.assertEqual(self.successResultOf(self.done), len(expected))
        self.check_over()


class AtHand(SynchronousTestCase):
    """Bytes as a source."""

    @given(st.binary(max_size=50), st.lists(st.integers(1, 20), min_size=60, max_size=60))
    def test_any_reads(self, data: bytes, limits: list[int]) -> None:
        """They come in pieces as large as asked for, and then there are no more."""
        source = BytesSource(data)
        pieces = [source.read(limit) for limit in limits]
        self.assertEqual(data, b"".join(pieces))
        self.assertEqual(b"", source.read(1))
        self.assertTrue(all(len(p) <= n for p, n in zip(pieces, limits, strict=True)))
        source.close()
