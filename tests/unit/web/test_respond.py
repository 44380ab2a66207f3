"""Headers that all responses share, and bodies that are sent as they come."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from oci_registry.spec.digest import Digest
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.send import ConsumerGone
from oci_registry.web.patience import Patience
from oci_registry.web.respond import not_modified, send_bytes, send_source, set_content
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
    """A site whose requests are answered by a function."""

    def answer(
        self, answer: Callable[[RegistryRequest], object], method: str = "GET", **headers: str
    ) -> Connection:
        self.serve(answer)
        return self.ask("/x", method, **headers)


class Content(RespondTestCase):
    """What is said of a body."""

    def test_set_content(self) -> None:
        """Type, length, digest and entity tag."""

        def answer(request: RegistryRequest) -> None:
            set_content(request, "a/b", 7, DIGEST)
            send_bytes(request, b"content")

        for method, body in (("GET", b"content"), ("HEAD", b"")):
            got = self.answer(answer, method).answer(method)
            self.assertEqual(body, got.body)
            self.assertEqual(
                ("a/b", "7", str(DIGEST), f'"{DIGEST}"'),
                tuple(
                    got.headers[name]
                    for name in ("content-type", "content-length", "docker-content-digest", "etag")
                ),
            )

    def test_type_from_upstream(self) -> None:
        """A type that upstream made up ends no line and adds no header."""

        def answer(request: RegistryRequest) -> None:
            set_content(request, "a/b\r\nEvil: yes\u2603", 0)
            send_bytes(request, b"")

        headers = self.answer(answer).answer().headers
        self.assertNotIn("evil", headers)

    def test_without_length(self) -> None:
        """A body of unknown length is sent in chunks."""

        def answer(request: RegistryRequest) -> None:
            set_content(request, "a/b", None)
            send_bytes(request, b"content")

        got = self.answer(answer).got
        self.assertIn(b"Transfer-Encoding: chunked", got)
        self.assertTrue(got.endswith(b"\r\n\r\n7\r\ncontent\r\n0\r\n\r\n"))

    def test_not_modified(self) -> None:
        """A client that has the content already is told so, in all forms of the question."""
        for header in (
            f'"{DIGEST}"',
            f'W/"{DIGEST}"',
            f'"other", "{DIGEST}"',
            f'"other",W/"{DIGEST}" ,"third"',
            "*",
        ):
            got = self.answer(self.unless_modified, If_None_Match=header).answer()
            self.assertEqual((304, b""), (got.status, got.body), header)
            self.assertEqual(f'"{DIGEST}"', got.headers["etag"])
            self.assertNotIn("content-length", got.headers)
            self.assertNotIn("transfer-encoding", got.headers)

    def test_modified(self) -> None:
        """A client that has something else, or says nothing, gets the content."""
        for header in ('"other"', str(DIGEST), "", f'"{DIGEST}', '"*"'):
            got = self.answer(self.unless_modified, If_None_Match=header).answer()
            self.assertEqual((200, b"content"), (got.status, got.body), header)
        self.assertEqual(200, self.answer(self.unless_modified).answer().status)

    def unless_modified(self, request: RegistryRequest) -> None:
        if not not_modified(request, DIGEST):
            set_content(request, "a/b", 7, DIGEST)
            send_bytes(request, b"content")


class Sending(RespondTestCase):
    """`send_source`."""

    def setUp(self) -> None:
        super().setUp()
        self.patience = Patience(self.clock)

    def send(self, source: Steps, count: int | None) -> tuple[Connection, Deferred[None]]:
        sending: list[Deferred[None]] = []

        def answer(request: RegistryRequest) -> None:
            set_content(request, "a/b", count)
            work = send_source(request, source, count, self.patience)
            sending.append(Deferred.fromCoroutine(work))

        connection = self.answer(answer)
        return connection, sending[0]

    def test_at_hand(self) -> None:
        """What is at hand is sent at once, and the source closed."""
        source = Steps(b"con", b"tent")
        connection, done = self.send(source, 7)
        self.successResultOf(done)
        self.assertEqual((b"content", 1), (connection.answer().body, source.closed))

    def test_waiting(self) -> None:
        """What has to be waited for is."""
        rest: Deferred[bytes] = Deferred()
        connection, done = self.send(Steps(b"con", rest), 7)
        self.assertNoResult(done)
        rest.callback(b"tent")
        self.successResultOf(done)
        self.assertEqual(b"content", connection.answer().body)

    def test_error_before_the_first_byte(self) -> None:
        """What fails before the first byte can still become an error: no header is out."""
        source = Steps(TransferFailed("no"))
        connection, done = self.send(source, 7)
        self.failureResultOf(done, TransferFailed)
        self.assertEqual((b"", 1), (connection.got, source.closed))

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
        self.assertEqual(1, source.closed)

    def test_client_that_left_before(self) -> None:
        """A client that left before there was anything to send closes the source, without an error of ours."""
        source = Steps(b"content")
        held: list[RegistryRequest] = []
        connection = self.answer(held.append)
        connection.leave()
        done = Deferred.fromCoroutine(send_source(held[0], source, 7, self.patience))
        self.failureResultOf(done, ConsumerGone)
        self.assertEqual(1, source.closed)

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
