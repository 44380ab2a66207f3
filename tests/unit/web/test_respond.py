"""Headers that all responses share, and bodies that are sent as they come."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from oci_registry.spec.digest import Digest
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.send import ConsumerGone
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.errors import respond_error
from oci_registry.web.reply import Reply, Stream, content
from oci_registry.web.respond import respond
from oci_registry.web.site import RegistryRequest
from tests.unit.web.support import Connection, WebTestCase

DIGEST = Digest.of(b"content")
Step = bytes | Exception | Deferred[bytes]


class Steps:
    """A source of bytes, errors and things to wait for."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.closed = 0

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        step = self._steps.pop(0) if self._steps else b""
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


class RespondTestCase(WebTestCase):
    """A site whose requests are answered with a reply."""

    def setUp(self) -> None:
        super().setUp()
        self.watch = ClientWatch(self.clock)

    def answer(
        self, reply: Reply, method: str = "GET", *, left: bool = False
    ) -> tuple[Connection, Deferred[None]]:
        """Write a reply to a client, which may have *left* before; return the writing too."""
        held: list[RegistryRequest] = []
        self.serve(held.append)
        connection = self.ask("/x", method)
        if left:
            connection.leave()
        return connection, Deferred.fromCoroutine(respond(held[0], reply, self.watch))


class AtHand(RespondTestCase):
    """Replies whose body is bytes."""

    def test_reply(self) -> None:
        """Status, headers and body; of a HEAD and a 304 no body."""
        for method, status, body in (
            ("GET", 200, b"content"),
            ("GET", 404, b"content"),
            ("HEAD", 200, b""),
            ("GET", 304, b""),
        ):
            reply = Reply(status, {"Content-Length": "7", "Age": "1"}, b"content")
            connection, done = self.answer(reply, method)
            self.successResultOf(done)
            head, _, sent = connection.got.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status))
            self.assertIn(b"Age: 1", head)
            self.assertEqual(body, sent)

    def test_type_from_upstream(self) -> None:
        """A type that upstream made up ends no line and adds no header."""
        connection, _ = self.answer(Reply(200, content("a/b\r\nEvil: yes\u2603", 0)))
        self.assertNotIn("evil", connection.answer().headers)

    def test_without_length(self) -> None:
        """A body of unknown length is sent in chunks."""
        connection, _ = self.answer(Reply(200, content("a/b", None), b"content"))
        self.assertIn(b"Transfer-Encoding: chunked", connection.got)
        self.assertTrue(connection.got.endswith(b"\r\n\r\n7\r\ncontent\r\n0\r\n\r\n"))

    def test_client_that_left_before(self) -> None:
        """A client that has left is not written to, and that is no error."""
        connection, done = self.answer(Reply(200, {}, b"content"), left=True)
        self.successResultOf(done)
        self.assertEqual(b"", connection.got)


class Sending(RespondTestCase):
    """Replies with a source."""

    def send(
        self, source: Steps, count: int | None, status: int = 200, method: str = "GET"
    ) -> tuple[Connection, Deferred[None]]:
        reply = Reply(status, content("a/b", count), Stream(source, count))
        return self.answer(reply, method)

    def test_without_body(self) -> None:
        """Of a HEAD and a 304 nothing is read, and the source is closed."""
        for method, status in (("HEAD", 200), ("GET", 304), ("HEAD", 304)):
            source = Steps(b"content")
            connection, done = self.send(source, 7, status, method)
            self.successResultOf(done)
            self.assertTrue(connection.got.endswith(b"\r\n\r\n"))
            self.assertEqual((status, 1), (connection.answer("HEAD").status, source.closed))

    def test_always_closed(self) -> None:
        """The source is closed whatever becomes of the response."""
        for steps in ((b"content",), (b"con", b""), (OSError("no"),), (b"con", OSError("no"))):
            source = Steps(*steps)
            self.send(source, 7)[1].addErrback(lambda _: None)
            self.assertGreaterEqual(source.closed, 1, steps)

    def test_at_hand(self) -> None:
        """What is at hand is sent at once, and the source closed."""
        source = Steps(b"con", b"tent")
        connection, done = self.send(source, 7)
        self.successResultOf(done)
        self.assertEqual((b"content", True), (connection.answer().body, source.closed > 0))

    def test_waiting(self) -> None:
        """What has to be waited for is."""
        rest: Deferred[bytes] = Deferred()
        connection, done = self.send(Steps(b"con", rest), 7)
        self.assertNoResult(done)
        rest.callback(b"tent")
        self.successResultOf(done)
        self.assertEqual(b"content", connection.answer().body)

    def test_error_before_the_first_byte(self) -> None:
        """What fails before the first byte can still become an error, of which nothing else is said."""
        held: list[RegistryRequest] = []
        self.serve(held.append)
        connection = self.ask("/x")
        held[0].setHeader(b"OCI-Namespace", b"docker.io")
        headers = {"Accept-Ranges": "bytes", "Content-Range": "x", "Link": "x"}
        stream = Stream(Steps(TransferFailed("no")), 12345)
        reply = Reply(206, {**headers, **content("a/b", 12345, DIGEST)}, stream)
        done = Deferred.fromCoroutine(respond(held[0], reply, self.watch))
        error = self.failureResultOf(done, TransferFailed).value
        self.assertEqual(b"", connection.got)
        respond_error(held[0], error)
        answer = connection.answer()
        self.assertEqual(error.status, answer.status)
        told = {"content-type", "content-length", "oci-namespace", "server", "date"}
        self.assertEqual(told, set(answer.headers))

    def test_error_in_the_middle(self) -> None:
        """What fails later leaves the response unfinished."""
        connection, done = self.send(Steps(b"con", TransferFailed("no")), 7)
        self.failureResultOf(done, TransferFailed)
        self.assertTrue(connection.got.endswith(b"con"))

    def test_source_that_ends_early(self) -> None:
        """A source that has less than it should is an error, never a short success."""
        _, done = self.send(Steps(b"con", b""), 7)
        self.failureResultOf(done, EOFError)

    def test_chunked(self) -> None:
        """Without a length everything there is is sent, and its end is marked."""
        connection, done = self.send(Steps(b"con", b"tent"), None)
        self.successResultOf(done)
        self.assertTrue(connection.got.endswith(b"3\r\ncon\r\n4\r\ntent\r\n0\r\n\r\n"))

    def test_chunked_and_broken(self) -> None:
        """A body of unknown length that breaks off never gets its end."""
        connection, done = self.send(Steps(b"con", TransferFailed("no")), None)
        self.failureResultOf(done, TransferFailed)
        self.assertFalse(connection.got.endswith(b"0\r\n\r\n"))

    def test_client_that_does_not_read(self) -> None:
        """A client that has enough is not sent more before it wants more."""
        waited: Deferred[bytes] = Deferred()
        connection, done = self.send(Steps(b"c", waited, b"nt"), 7)
        connection.channel.pauseProducing()
        waited.callback(b"onte")
        self.assertTrue(connection.got.endswith(b"conte"))
        self.assertNoResult(done)
        connection.channel.resumeProducing()
        self.successResultOf(done)

    def test_client_that_leaves(self) -> None:
        """A client that leaves ends the sending, and the source is closed."""
        source = Steps(b"con", Deferred())
        connection, done = self.send(source, 7)
        connection.leave()
        self.failureResultOf(done, ConsumerGone)
        self.assertGreaterEqual(source.closed, 1)

    def test_client_that_left_before(self) -> None:
        """A client that left before there was anything to send closes the source, without an error of ours."""
        for method in ("GET", "HEAD"):
            source = Steps(b"content")
            reply = Reply(200, {}, Stream(source, 7))
            connection, done = self.answer(reply, method, left=True)
            self.successResultOf(done)
            self.assertEqual((b"", 1), (connection.got, source.closed))

    def test_headers_after_a_while(self) -> None:
        """The headers do not wait for the first byte for longer than clients do."""
        first: Deferred[bytes] = Deferred()
        connection, done = self.send(Steps(first), 7)
        self.assertEqual(b"", connection.got)
        self.clock.advance(29)
        self.assertTrue(connection.got.endswith(b"\r\n\r\n"))
        first.callback(b"content")
        self.successResultOf(done)
        self.assertEqual(b"content", connection.answer().body)

    def test_many_bytes(self) -> None:
        """Pieces keep their order, whether they have to be waited for or not."""
        pieces = [bytes([n]) * 1000 for n in range(50)]
        steps = [succeed(piece) if n % 3 else piece for n, piece in enumerate(pieces)]
        connection, done = self.send(Steps(*steps), 50_000)
        self.successResultOf(done)
        self.assertEqual(b"".join(pieces), connection.answer().body)
