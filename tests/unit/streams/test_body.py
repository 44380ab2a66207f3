"""The body of an upstream's answer, read from Twisted's own HTTP client over a string."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.client import GzipDecoder
from twisted.web.http_headers import Headers
from zope.interface.verify import verifyObject

from oci_registry.streams.body import (
    RECEIVE_SIZE,
    SLOWEST,
    BodyError,
    BodyPump,
    BodyStalled,
    BodyTooLong,
    abandon,
    collect,
)
from tests.support.streams import FakeConsumer

IDLE = 20.0


class Socket(StringTransport):
    """A transport with a receive size, which tells its protocol when it is aborted."""

    bufferSize = 65536  # noqa: N815 - as Twisted calls it
    client: Any = None

    def abortConnection(self) -> None:
        """Close at once, and say so."""
        super().abortConnection()
        self.end(ConnectionAborted())

    def end(self, reason: Exception) -> None:
        """Let the connection end."""
        client, self.client = self.client, None
        if client is not None:
            client.connectionLost(Failure(reason))


class PausingConsumer(FakeConsumer):
    """A consumer that has enough from the start."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take the producer, and pause it."""
        super().registerProducer(producer, streaming)
        producer.pauseProducing()


class BodyTestCase(SynchronousTestCase):
    """A client that has sent a request, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.socket = Socket()
        self.client = self.socket.client = HTTP11ClientProtocol()
        self.client.makeConnection(self.socket)
        headers = Headers({b"Host": [b"example.com"]})
        self.answer = self.client.request(Request(b"GET", b"/", headers, None, True))

    def receive(self, *pieces: bytes) -> None:
        """Let bytes arrive."""
        for piece in pieces:
            self.client.dataReceived(piece)

    def respond(self, *headers: str, body: bytes = b"") -> Any:
        """Return the response, once its headers and the first of its body have arrived."""
        head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *headers, ""))
        self.receive(head.encode() + body)
        return self.successResultOf(self.answer)

    def pump(
        self, response: Any, expected: int | None = None, consumer: FakeConsumer | None = None
    ) -> Deferred[int]:
        """Start to read a body."""
        self.consumer = FakeConsumer() if consumer is None else consumer
        self.body = BodyPump(self.consumer, self.clock, IDLE, expected)
        return self.body.run(response)

    def check_over(self, *, aborted: bool) -> None:
        """The consumer is rid of its producer, and no timer left; the connection is as expected."""
        self.assertTrue(self.consumer.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.socket.disconnected, aborted)

    def fails(self, work: Deferred[Any], error: type[Exception]) -> str:
        """Return the message of the error that *work* has failed with."""
        return str(self.failureResultOf(work, error).value)


class Reading(BodyTestCase):
    """Bodies that arrive."""

    def test_with_a_length(self) -> None:
        """A body is written as it arrives, and its length returned."""
        done = self.pump(self.respond("Content-Length: 10", body=b"01"), 10)
        self.receive(b"234", b"56789")
        self.assertEqual(self.successResultOf(done), 10)
        self.assertEqual(self.consumer.chunks, [b"01", b"234", b"56789"])
        self.assertEqual(self.body.received, 10)
        self.check_over(aborted=False)
        verifyObject(IPushProducer, self.body)

    def test_chunked(self) -> None:
        """A chunked body needs no length."""
        done = self.pump(self.respond("Transfer-Encoding: chunked"))
        self.receive(b"3\r\nabc\r\n", b"2\r\nde\r\n")
        self.assertNoResult(done)
        self.receive(b"0\r\n\r\n")
        self.assertEqual(self.successResultOf(done), 5)
        self.assertEqual(self.consumer.data, b"abcde")
        self.check_over(aborted=False)

    def test_ended_by_closing(self) -> None:
        """A body without any length ends with the connection: others must say whether it is whole."""
        done = self.pump(self.respond(body=b"abc"))
        self.socket.end(ConnectionDone())
        self.assertEqual(self.successResultOf(done), 3)
        self.check_over(aborted=False)

    def test_empty(self) -> None:
        """An empty body is over at once."""
        self.assertEqual(self.successResultOf(self.pump(self.respond("Content-Length: 0"), 0)), 0)
        self.check_over(aborted=False)

    def test_arrived_before(self) -> None:
        """A body that has arrived as a whole before it is asked for is read nevertheless."""
        response = self.respond("Content-Length: 3", body=b"abc")
        self.assertEqual(self.successResultOf(self.pump(response, 3)), 3)
        self.assertEqual(self.consumer.data, b"abc")
        self.check_over(aborted=False)

    def test_receive_size(self) -> None:
        """The socket is read in pieces of 256 KiB while a body arrives."""
        self.pump(self.respond("Content-Length: 10"))
        self.assertEqual(self.socket.bufferSize, RECEIVE_SIZE)

    def test_decoded(self) -> None:
        """A body that is decoded on the way has the length that it has."""
        packed = gzip.compress(b"abc" * 1000)
        response = self.respond(f"Content-Length: {len(packed)}", "Content-Encoding: gzip")
        done = self.pump(GzipDecoder(response), 3000)
        self.receive(packed[:20], packed[20:])
        self.assertEqual(self.successResultOf(done), 3000)
        self.assertEqual(self.consumer.data, b"abc" * 1000)
        self.check_over(aborted=False)

    def test_decoded_to_too_much(self) -> None:
        """A small body that is decoded to a large one is given up as soon as it is too large."""
        packed = gzip.compress(bytes(1_000_000))
        response = self.respond(f"Content-Length: {len(packed)}", "Content-Encoding: gzip")
        done = self.pump(GzipDecoder(response), 3000)
        self.receive(packed[:-1])
        self.fails(done, BodyTooLong)
        self.assertEqual(self.consumer.data, b"")
        self.check_over(aborted=True)


class FlowControl(BodyTestCase):
    """A consumer that pauses."""

    def test_pausing(self) -> None:
        """Pauses reach the socket, and end there."""
        self.pump(self.respond("Content-Length: 10"))
        for call, state in (
            (self.body.pauseProducing, "paused"),
            (self.body.resumeProducing, "producing"),
            (self.body.pauseProducing, "paused"),
        ):
            call()
            self.assertEqual(self.socket.producerState, state)

    def test_paused_from_the_start(self) -> None:
        """A pause asked for before the first byte holds, though deliverBody resumes the socket."""
        self.pump(self.respond("Content-Length: 10", body=b""), consumer=PausingConsumer())
        self.assertEqual(self.socket.producerState, "paused")
        self.body.resumeProducing()
        self.assertEqual(self.socket.producerState, "producing")

    def test_over(self) -> None:
        """Nothing is asked of the socket when the body is over: it has another response by then."""
        done = self.pump(self.respond("Content-Length: 1", body=b"x"))
        self.successResultOf(done)
        self.body.pauseProducing()
        self.body.stopProducing()
        self.assertEqual((self.socket.producerState, self.socket.disconnected), ("producing", 0))
        self.socket.pauseProducing()
        self.body.resumeProducing()
        self.assertEqual(self.socket.producerState, "paused")


class Failing(BodyTestCase):
    """Bodies that do not arrive whole."""

    def test_cut(self) -> None:
        """A body cut short of its length is an error that says how far it came."""
        for reason in (ConnectionDone(), ConnectionLost()):
            self.setUp()
            done = self.pump(self.respond("Content-Length: 10", body=b"abc"), 10)
            self.socket.end(reason)
            self.assertIn("broke after 3 bytes", self.fails(done, BodyError))
            self.check_over(aborted=False)

    def test_chunks_cut(self) -> None:
        """A chunked body without its last chunk is not whole."""
        done = self.pump(self.respond("Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
        self.socket.end(ConnectionDone())
        self.fails(done, BodyError)
        self.check_over(aborted=False)

    def test_shorter_than_expected(self) -> None:
        """A body that is shorter than expected from elsewhere is an error."""
        done = self.pump(self.respond("Transfer-Encoding: chunked"), 10)
        self.receive(b"3\r\nabc\r\n0\r\n\r\n")
        self.assertIn("3 of 10 bytes", self.fails(done, BodyError))
        self.check_over(aborted=False)

    def test_longer_than_expected(self) -> None:
        """A body that is longer than expected is broken off, and its last bytes not passed on."""
        done = self.pump(self.respond("Transfer-Encoding: chunked"), 4)
        self.receive(b"3\r\nabc\r\n", b"3\r\ndef\r\n")
        self.assertIn("more than the 4 bytes", self.fails(done, BodyTooLong))
        self.assertEqual(self.consumer.data, b"abc")
        self.check_over(aborted=True)

    def test_stalled(self) -> None:
        """An upstream that sends nothing for too long is given up."""
        done = self.pump(self.respond("Content-Length: 100000"), 100_000)
        for _ in range(5):
            self.clock.advance(IDLE - 1)
            self.receive(bytes(SLOWEST))
        self.clock.advance(IDLE - 0.1)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.assertIn("nothing for 20 s", self.fails(done, BodyStalled))
        self.check_over(aborted=True)

    def test_trickle(self) -> None:
        """An upstream that sends a byte now and then is given up too, but not one that is slow."""
        done = self.pump(self.respond("Content-Length: 100000"), 100_000)
        for _ in range(8):
            self.receive(bytes(SLOWEST // 4))
            self.clock.advance(IDLE / 4)
        self.assertNoResult(done)
        for _ in range(3):
            self.receive(b"x")
            self.clock.advance(IDLE / 4)
        self.assertNoResult(done)
        self.receive(b"x")
        self.clock.advance(IDLE / 4)
        self.assertIn("only 4 bytes in 20 s", self.fails(done, BodyStalled))
        self.check_over(aborted=True)

    def test_pauses_do_not_count(self) -> None:
        """However long the consumer pauses, it is not upstream that is slow."""
        done = self.pump(self.respond("Content-Length: 10"), 10)
        self.clock.advance(IDLE - 1)
        self.body.pauseProducing()
        self.clock.pump([IDLE - 1] * 20)
        self.body.resumeProducing()
        self.clock.advance(IDLE - 0.1)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.fails(done, BodyStalled)
        self.check_over(aborted=True)

    def test_stopped(self) -> None:
        """A consumer that wants no more closes the connection, and nothing is written any more."""
        done = self.pump(self.respond("Content-Length: 10", body=b"abc"))
        self.body.stopProducing()
        self.body.stopProducing()
        self.body.dataReceived(b"late")
        self.fails(done, BodyError)
        self.assertEqual(self.consumer.data, b"abc")
        self.check_over(aborted=True)

    def test_stopped_by_a_write(self) -> None:
        """A consumer may stop it from within a write."""
        consumer = FakeConsumer()
        consumer.on_write = lambda: self.body._give_up(BodyError("enough"))
        self.fails(
            self.pump(self.respond("Content-Length: 3", body=b"a"), None, consumer), BodyError
        )
        self.check_over(aborted=True)

    def test_cancelled(self) -> None:
        """Cancelling closes the connection."""
        done = self.pump(self.respond("Content-Length: 10", body=b"abc"))
        done.cancel()
        self.failureResultOf(done)
        self.check_over(aborted=True)


class Collecting(BodyTestCase):
    """Bodies that are read into memory."""

    def collect(self, response: Any, limit: int = 10) -> Deferred[bytes]:
        """Read a body."""
        return Deferred.fromCoroutine(collect(response, limit, self.clock, IDLE))

    def check(self, *, aborted: bool) -> None:
        """No timer is left, and the connection is as expected."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.socket.disconnected, aborted)

    def test_whole(self) -> None:
        """A body of at most the limit is returned."""
        done = self.collect(self.respond("Content-Length: 10", body=b"01234"))
        self.receive(b"56789")
        self.assertEqual(self.successResultOf(done), b"0123456789")
        self.check(aborted=False)

    def test_announced_too_long(self) -> None:
        """A body that is announced as too long is not waited for."""
        done = self.collect(self.respond("Content-Length: 1000000"))
        self.assertIn("1000000 bytes", self.fails(done, BodyTooLong))
        self.check(aborted=True)

    def test_too_long(self) -> None:
        """A body that turns out too long is broken off with the first byte too many."""
        done = self.collect(self.respond("Transfer-Encoding: chunked", body=b"a\r\n0123456789\r\n"))
        self.assertNoResult(done)
        self.receive(b"1\r\nx\r\n")
        self.assertIn("more than 10 bytes", self.fails(done, BodyTooLong))
        self.check(aborted=True)

    def test_broken(self) -> None:
        """A body that breaks off or stalls is an error, not a part of one."""
        done = self.collect(self.respond("Content-Length: 10", body=b"0123"))
        self.socket.end(ConnectionDone())
        self.fails(done, BodyError)
        self.check(aborted=False)
        self.setUp()
        done = self.collect(self.respond("Content-Length: 10", body=b"0123"))
        self.clock.advance(IDLE)
        self.fails(done, BodyStalled)
        self.check(aborted=True)

    def test_given_up(self) -> None:
        """A reader that gives up waiting closes the connection."""
        done = self.collect(self.respond("Content-Length: 10", body=b"0123"))
        done.cancel()
        self.failureResultOf(done)
        self.check(aborted=True)


class Abandoning(BodyTestCase):
    """Bodies that nobody wants."""

    def check(self, *, aborted: bool) -> None:
        """No timer is left, and the connection is as expected."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.socket.disconnected, aborted)

    def test_short(self) -> None:
        """A short body is read to its end, so that the connection can be used again."""
        abandon(self.respond("Content-Length: 10", body=b"0123"), self.clock)
        self.receive(b"456789")
        self.check(aborted=False)
        self.assertEqual(self.client.state, "QUIESCENT")

    def test_long(self) -> None:
        """A long body is not worth its connection, whether its length is announced or not."""
        abandon(self.respond("Content-Length: 65537"), self.clock)
        self.check(aborted=True)
        self.setUp()
        abandon(self.respond("Transfer-Encoding: chunked"), self.clock)
        self.receive(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        self.assertFalse(self.socket.disconnected)
        self.receive(b"1\r\nx\r\n")
        self.check(aborted=True)

    def test_slow(self) -> None:
        """A body that does not come is not waited for longer than 5 s."""
        abandon(self.respond("Content-Length: 10"), self.clock)
        self.clock.advance(5)
        self.check(aborted=True)

    def test_cut(self) -> None:
        """That it is cut short is nobody's business."""
        abandon(self.respond("Content-Length: 10", body=b"0"), self.clock)
        self.socket.end(ConnectionLost())
        self.check(aborted=False)
        self.assertEqual(self.flushLoggedErrors(), [])
