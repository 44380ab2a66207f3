"""A file is sent past us where that is possible, and read where it is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.interfaces import FileConsumer, FileSource, SocketWriter
from oci_registry.streams.send import CHUNK, BytesSource, ConsumerGone, Sender
from oci_registry.streams.sendfile import PIECE, FileSender, sender_for
from tests.support.streams import FakeConsumer

DATA = bytes(range(256)) * 4096 * 3
SOCKET = 7


class FakeSource:
    """A file; *answers* says what comes of each attempt to send: bytes at most, or an error.

    *there*: how much of it there is so far; *sendable*: whether anything can be sent.
    """

    def __init__(self, data: bytes, taken: bytearray) -> None:
        self.answers: list[int | Exception] = []
        self.there = len(data)
        self.sendable = True
        self.waiting: list[Deferred[None]] = []
        self.limits: list[int] = []
        self.reading: list[tuple[Deferred[bytes], bytes]] = []
        self.late = False
        self.error: Exception | None = None
        self.position = 0
        self.closed = 0
        self._data = data
        self._taken = taken

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Read, at once or late."""
        assert not self.closed
        assert not self.reading
        if self.error is not None:
            raise self.error
        data = self._data[self.position : min(self.there, self.position + limit)]
        self.position += len(data)
        if not self.late:
            return data
        reading: Deferred[bytes] = Deferred()
        self.reading.append((reading, data))
        return reading

    def more(self) -> Deferred[None] | None:
        """Return None, or a Deferred until `grow`."""
        assert not self.waiting
        if self.position < self.there or self.there == len(self._data):
            return None
        self.waiting.append(Deferred())
        return self.waiting[0]

    def grow(self, count: int) -> None:
        """Let more be there."""
        self.there = min(len(self._data), self.there + count)
        if self.waiting and self.more_is_there():
            self.waiting.pop().callback(None)

    def more_is_there(self) -> bool:
        """Whether there is more, or never will be."""
        return self.position < self.there or self.there == len(self._data)

    def can_send(self) -> bool:
        """Whether it is worth a try."""
        assert not self.waiting
        return self.sendable

    def send_now(self, socket: int, limit: int) -> int:
        """Do as it is told; by default, send all."""
        assert not self.closed
        assert not self.reading
        assert not self.waiting
        assert socket == SOCKET
        self.limits.append(limit)
        answer = self.answers.pop(0) if self.answers else limit
        if isinstance(answer, Exception):
            raise answer
        data = self._data[self.position : min(self.there, self.position + min(answer, limit))]
        self.position += len(data)
        self._taken += data
        return len(data)

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class FakeSocket(FakeConsumer):
    """A consumer in front of a socket, that is ready when the test says so; *begun*: headers are sent."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.bytes = bytearray()
        self.writer: SocketWriter | None = None
        self.counted = 0
        self.possible = True

    def write(self, data: bytes) -> None:
        """Take bytes and push back, as a transport does with so many."""
        assert self.writer is None
        self.begun = True
        super().write(data)
        self.bytes += data
        if self.producer is not None and len(data) == CHUNK:
            self.producer.pauseProducing()

    def write_from(self, writer: SocketWriter | None) -> bool:
        """Take a writer, and send the headers first."""
        if not self.possible:
            return False
        self.begun = self.begun or writer is not None
        self.writer = writer
        return True

    def wrote(self, count: int) -> None:
        """Count what went past."""
        self.counted += count

    def ready(self) -> None:
        """Everything that was written has left, and there is room for more."""
        if self.writer is not None:
            self.writer.write_now(SOCKET)
        elif self.producer is not None:
            self.producer.resumeProducing()  # type: ignore[attr-defined]


class Sending(SynchronousTestCase):
    """One file and one socket."""

    def begin(
        self,
        count: int = len(DATA),
        *,
        possible: bool = True,
        there: int = len(DATA),
        sendable: bool = True,
    ) -> None:
        """Start to send."""
        self.socket = FakeSocket()
        self.socket.possible = possible
        self.source = FakeSource(DATA, self.socket.bytes)
        self.source.there, self.source.sendable = there, sendable
        self.sender = FileSender(self.source, self.socket, count)
        self.done = self.sender.start()

    def run_out(self) -> None:
        """Let the socket take all there is."""
        for _ in range(100):
            self.socket.ready()

    def check_over(self) -> None:
        """The source is closed, once, and the socket rid of us."""
        self.assertEqual(1, self.source.closed)
        self.assertTrue(self.socket.finished)
        self.assertIsNone(self.socket.writer)

    def test_past_us(self) -> None:
        """The headers leave, then everything goes past us, piece by piece."""
        self.begin()
        self.assertEqual((True, []), (self.socket.begun, self.socket.chunks))
        self.run_out()
        self.assertEqual(len(DATA), self.successResultOf(self.done))
        self.assertTrue(self.socket.bytes == DATA)
        self.assertEqual([PIECE, PIECE, PIECE], self.source.limits)
        self.assertEqual(len(DATA), self.socket.counted)
        self.check_over()

    def test_not_possible(self) -> None:
        """Where nobody else may write to the socket, all is read."""
        self.begin(possible=False)
        self.run_out()
        self.assertEqual(len(DATA), self.successResultOf(self.done))
        self.assertTrue(self.socket.data == DATA)
        self.assertEqual([], self.source.limits)
        self.check_over()

    def test_first_bytes_not_at_hand(self) -> None:
        """No headers leave before the first bytes are there, so that an error can still take their place."""
        self.begin(sendable=False)
        self.assertEqual([CHUNK], [len(chunk) for chunk in self.socket.chunks])
        self.source.sendable = True
        self.run_out()
        self.assertTrue(self.socket.bytes == DATA)
        self.assertEqual(len(DATA) - CHUNK, self.socket.counted)
        self.check_over()
        self.begin(there=0)
        self.assertFalse(self.socket.begun)
        self.source.sendable, self.source.error = False, ValueError("no")
        self.source.grow(1)
        self.failureResultOf(self.done, ValueError)
        self.assertFalse(self.socket.begun)
        self.check_over()

    def test_one_piece_at_a_time(self) -> None:
        """Each time the socket is ready, it gets one piece; others have their turn between them."""
        self.begin()
        for sent in range(1, 3):
            self.socket.ready()
            self.assertEqual(sent * PIECE, self.sender.sent)

    def test_what_is_not_at_hand(self) -> None:
        """What is not in memory is read, and then it continues past us."""
        self.begin()
        self.source.answers = [1000, 0, BlockingIOError(), 50]
        self.run_out()
        self.assertEqual(len(DATA), self.successResultOf(self.done))
        self.assertTrue(self.socket.bytes == DATA)
        self.assertEqual([CHUNK], [len(chunk) for chunk in self.socket.chunks])
        self.check_over()

    def test_never(self) -> None:
        """A source that can send nothing is read, and not asked to."""
        self.begin(sendable=False)
        self.run_out()
        self.assertEqual(len(DATA), self.successResultOf(self.done))
        self.assertEqual([], self.source.limits)
        self.assertTrue(self.socket.data == DATA)

    def test_growing(self) -> None:
        """While there is no more, the socket is not waited for; then that goes past us too."""
        self.begin(there=10)
        self.socket.ready()
        self.assertEqual(
            (10, None, False), (self.sender.sent, self.socket.writer, self.sender.paused)
        )
        self.socket.ready()
        self.source.grow(5)
        self.assertTrue(self.sender.paused)
        self.socket.ready()
        self.source.grow(len(DATA))
        self.run_out()
        self.assertEqual(len(DATA), self.successResultOf(self.done))
        self.assertEqual([], self.socket.chunks)
        self.assertTrue(self.socket.bytes == DATA)
        self.check_over()

    def test_no_longer_there(self) -> None:
        """What is no longer there while the socket is waited for is waited for too, and not read."""
        self.begin(there=20)
        self.source.answers = [7]
        self.socket.ready()
        self.source.there = 7
        self.socket.ready()
        self.assertEqual((1, None), (len(self.source.waiting), self.socket.writer))
        self.source.grow(len(DATA))
        self.run_out()
        self.assertEqual([], self.socket.chunks)
        self.assertTrue(self.socket.bytes == DATA)

    def test_leaving_while_there_is_no_more(self) -> None:
        """A client that leaves while more is waited for ends it, and what comes later changes nothing."""
        self.begin(there=10)
        self.socket.ready()
        self.sender.stopProducing()
        self.failureResultOf(self.done, ConsumerGone)
        self.source.grow(10)
        self.assertEqual(10, len(self.socket.bytes))
        self.check_over()

    def test_waiting_for_the_client(self) -> None:
        """While the socket takes nothing, the sender is paused, and what it has sent stays the same."""
        self.begin()
        self.source.answers = [7, BlockingIOError(), BlockingIOError()]
        for _ in range(3):
            self.socket.ready()
            self.assertTrue(self.sender.paused)
            self.assertEqual(7, self.sender.sent)
        self.sender.resumeProducing()
        self.assertTrue(self.sender.paused)

    def test_waiting_for_the_disk(self) -> None:
        """While bytes are read, the client is not the one who delays."""
        self.begin()
        self.socket.ready()
        self.source.answers, self.source.late = [0], True
        self.socket.ready()
        self.assertFalse(self.sender.paused)
        self.assertIsNone(self.socket.writer)
        reading, data = self.source.reading.pop()
        reading.callback(data)
        self.source.late = False
        self.run_out()
        self.assertTrue(self.socket.bytes == DATA)

    def test_failing(self) -> None:
        """An error of the source, read or sent, ends it."""
        for sending in (True, False):
            self.begin()
            self.socket.ready()
            if sending:
                self.source.answers = [ValueError("no")]
            else:
                self.source.answers, self.source.error = [0], ValueError("no")
            self.socket.ready()
            self.failureResultOf(self.done, ValueError)
            self.check_over()

    def test_ends_early(self) -> None:
        """A file that is shorter than promised is an error, not a short success."""
        self.begin(len(DATA) + 1)
        self.run_out()
        self.failureResultOf(self.done, EOFError)
        self.assertTrue(self.socket.bytes == DATA)
        self.check_over()

    def test_leaving(self) -> None:
        """A client that leaves, or is given up, while its socket is waited for ends it."""
        for leave in (FileSender.stopProducing, lambda sender: self.done.cancel()):
            self.begin()
            self.socket.ready()
            leave(self.sender)
            self.failureResultOf(self.done, ConsumerGone)
            self.check_over()

    @given(
        st.integers(0, len(DATA)),
        st.lists(
            st.one_of(st.integers(0, 2 * PIECE), st.builds(BlockingIOError), st.just(0)),
            max_size=12,
        ),
        st.lists(
            st.sampled_from(["ready", "arrive", "late", "early", "grow", "able"]), max_size=40
        ),
        st.integers(0, len(DATA)),
    )
    def test_any_order(
        self, count: int, answers: list[int | Exception], events: list[str], there: int
    ) -> None:
        """Whatever is possible when, the bytes come in their order, once, and are counted."""
        self.begin(count, there=there)
        self.source.answers = answers
        for event in [*events, *["arrive", "ready", "grow"] * 40]:
            if event == "arrive" and self.source.reading:
                reading, data = self.source.reading.pop()
                reading.callback(data)
            elif event == "ready":
                self.socket.ready()
            elif event == "grow":
                self.source.grow(PIECE // 8)
            elif event == "able":
                self.source.sendable = not self.source.sendable
            elif event in ("late", "early"):
                self.source.late = event == "late"
            self.assertTrue(DATA.startswith(bytes(self.socket.bytes)))
            self.assertEqual(len(self.socket.bytes), self.sender.sent)
        self.assertEqual(count, self.successResultOf(self.done))
        self.assertEqual(count, len(self.socket.data) + self.socket.counted)
        self.check_over()


class Choosing(SynchronousTestCase):
    """Which sender it is."""

    def test_choice(self) -> None:
        """Only a source that is a file, of known length, is sent as one."""
        socket = FakeSocket()
        source = FakeSource(DATA, socket.bytes)
        self.assertIsInstance(source, FileSource)
        self.assertIsInstance(socket, FileConsumer)
        self.assertIs(FileSender, type(sender_for(source, socket, 5)))
        self.assertIs(Sender, type(sender_for(source, socket, None)))
        self.assertIs(Sender, type(sender_for(BytesSource(DATA), socket, 5)))

    def test_other_consumer(self) -> None:
        """Any consumer will do: then all is read."""
        consumer = FakeConsumer()
        source = FakeSource(DATA, bytearray())
        sender = sender_for(source, consumer, len(DATA))
        self.assertEqual(len(DATA), self.successResultOf(sender.start()))
        self.assertTrue(consumer.data == DATA)
