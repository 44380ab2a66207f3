"""The head of an upstream's answer is read up to its limits, in whatever pieces it arrives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError, Request
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from oci_registry.upstream.errors import Unusable
from oci_registry.upstream.wire import (
    MAX_HEAD,
    MAX_HEADERS,
    MAX_HEADERS_SIZE,
    MAX_INTERIM,
    MAX_SMALL_CHUNKS,
    BoundedPool,
    BoundedProtocol,
    Head,
)

OK = b"HTTP/1.1 200 OK\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def lengths(*values: str) -> bytes:
    """Return a head with these Content-Lengths."""
    lines = "".join(f"Content-Length: {value}\r\n" for value in values)
    return OK + lines.encode() + b"\r\n"


class Heads(SynchronousTestCase):
    """What is a head, and what is too much for one."""

    def refused(self, data: bytes, message: str, kind: type[Exception] = Unusable) -> None:
        """*data* is refused, all at once or byte by byte, before anything is returned."""
        for step in (len(data), 1 if len(data) < 9000 else 1000):
            head = Head()
            with self.assertRaisesRegex(kind, message):
                for start in range(0, len(data), step):
                    self.assertIsNone(head.add(data[start : start + step]))

    @given(
        st.lists(st.sampled_from([HINTS, b"HTTP/1.1 100 Continue\n\n"]), max_size=MAX_INTERIM),
        st.lists(st.sampled_from([b"A: b", b"C:", b" folded", b"D: \xff\x80"]), max_size=9),
        st.sampled_from([b"\n", b"\r\n"]),
        st.binary(max_size=40),
        st.integers(1, 60),
    )
    def test_pieces(
        self, interim: list[bytes], lines: list[bytes], eol: bytes, rest: bytes, size: int
    ) -> None:
        """Whatever the pieces, the final head is returned whole, and what follows it."""
        head = eol.join([b"HTTP/1.1 200 OK", *lines, b"", b""])
        data = b"".join(interim) + head + rest
        reader, left = Head(), data
        while left:
            piece, left = left[:size], left[size:]
            complete = reader.add(piece)
            if complete is not None:
                self.assertEqual((head, rest), (complete[0], complete[1] + left))
                return
        self.fail("there was no head")

    def test_long_header(self) -> None:
        """One header of 64 KiB is read, and what is longer is not."""
        head = OK + b"X: " + b"x" * MAX_HEADERS_SIZE + b"\r\n\r\n"
        self.assertEqual((head, b"body"), Head().add(head + b"body"))
        self.refused(OK + b"X: " + b"x" * MAX_HEAD, "more than 64 KiB of headers")
        self.refused(OK + b"X: " + b"x" * MAX_HEAD + b"\r\n\r\n", "more than 64 KiB of headers")
        self.refused(OK + b"A: b\r\n c\r\n" * MAX_HEAD, "more than 64 KiB")
        self.refused(b"HTTP/1.1 200 " + b"x" * MAX_HEAD, "more than 64 KiB")

    def test_many_headers(self) -> None:
        """A thousand headers are read, and more are not."""
        head = OK + b"X: x\r\n" * MAX_HEADERS
        self.assertIsNotNone(Head().add(head + b"\r\n"))
        self.refused(head + b"X: x\r\n\r\n", "more than 1000 headers")

    def test_interim_answers(self) -> None:
        """Some answers may come before the final one; their number and their bytes count."""
        self.assertEqual((OK + b"\r\n", b""), Head().add(HINTS * MAX_INTERIM + OK + b"\r\n"))
        self.refused(HINTS * (MAX_INTERIM + 1), "more than 10 interim responses")
        long = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * (MAX_HEAD // 4) + b"\r\n\r\n"
        self.refused(long * 4, "more than 64 KiB of headers")

    def test_not_http(self) -> None:
        """What cannot be a status line is refused without waiting for more."""
        for data in (b"SSH-2.0-OpenSSH\r\n", b"\x16\x03", b"\r\n", b"HTTQ", b"HTTP/1.1 abc\r\n"):
            self.refused(data, "", ParseError)

    def test_lengths(self) -> None:
        """A length may be repeated, and be as large as a file."""
        for values in (
            ["5"],
            ["5", "5"],
            ["5, 5"],
            ["5,5", "005"],
            ["0"],
            ["9" * 18],
            ["0" * 5000],
        ):
            self.assertIsNotNone(Head().add(lengths(*values)), values)

    def test_impossible_lengths(self) -> None:
        """A length that is no number of bytes, or contradicts another, is refused."""
        for value in (
            "-5",
            "+5",
            "5 5",
            "5,",
            "",
            "0x5",
            "5.0",
            "5\r\n 5",
            "\r\n 5",
            "\u0665",
            "5\0",
        ):
            self.refused(lengths(value), "an invalid Content-Length")
        for digits in (19, 4299, 4301, 60_000):
            self.refused(lengths("9" * digits), "an invalid Content-Length")
        self.refused(lengths("5", "6"), "conflicting Content-Length")
        self.refused(lengths("5, 6"), "conflicting Content-Length")

    def test_length_that_frames_nothing(self) -> None:
        """Beside chunks, and in answer to HEAD, a length is not looked at."""
        chunked = OK + b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual((chunked, b""), Head().add(chunked))
        self.assertEqual((lengths("x"), b""), Head(bodiless=True).add(lengths("x")))


class Socket(StringTransport):
    """A connection that tells its protocol when it is aborted."""

    protocol: Any = None

    def abortConnection(self) -> None:
        """Close at once."""
        super().abortConnection()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionAborted()))


class Answers(SynchronousTestCase):
    """One connection, and what is asked on it."""

    def setUp(self) -> None:
        self.idle = 0
        self.socket = Socket()
        self.client = self.socket.protocol = BoundedProtocol(lambda _: self.quiescent())
        self.client.makeConnection(self.socket)

    def quiescent(self) -> None:
        self.idle += 1

    def ask(self, method: bytes = b"GET") -> Any:
        headers = Headers({b"Host": [b"example.com"]})
        return self.client.request(Request(method, b"/", headers, None, True))

    def fails(self, data: bytes, kind: type[Exception]) -> str:
        """*data* fails the request for a reason of this *kind*, and the connection is closed."""
        answer = self.ask()
        self.client.dataReceived(data)
        error = self.failureResultOf(answer, ResponseFailed).value
        # That would be sent again.
        self.assertNotIsInstance(error, ResponseNeverReceived)
        self.assertTrue(self.socket.disconnected)
        self.assertEqual(0, self.idle)
        reason = error.reasons[0].value
        self.assertIsInstance(reason, kind)
        return str(reason)

    def test_answers_in_a_row(self) -> None:
        """A connection is used again; each answer has limits of its own."""
        for _ in range(3):
            answer = self.ask()
            self.client.dataReceived(HINTS * 9 + OK + b"X: " + b"x" * 50_000 + b"\r\n")
            self.client.dataReceived(b"Content-Length: 4\r\n\r\nbo")
            response = self.successResultOf(answer)
            self.assertEqual((200, 4), (response.code, response.length))
            self.client.dataReceived(b"dy")
        self.assertEqual(3, self.idle)

    def test_beyond_the_limits(self) -> None:
        """Beyond a limit the connection is closed at once."""
        self.assertIn("64 KiB", self.fails(OK + b"X: " + b"x" * MAX_HEAD, Unusable))

    def test_absurd_length(self) -> None:
        """A length of thousands of digits is refused."""
        self.fails(lengths("9" * 5000), Unusable)

    def test_header_without_a_name(self) -> None:
        """What Twisted's parser stumbles over is not HTTP."""
        self.fails(OK + b"nonsense\r\n\r\n", ParseError)

    def test_fold_of_nothing(self) -> None:
        """A continued line that continues nothing is not HTTP."""
        self.fails(OK + b" nonsense\r\n\r\n", ParseError)

    def test_unknown_transfer_coding(self) -> None:
        """A transfer coding that nobody has asked for is not understood."""
        self.fails(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", ParseError)

    def test_chunks_instead_of_length(self) -> None:
        """Chunks frame the body, not a length beside them."""
        answer = self.ask()
        head = b"Content-Length: 7\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\n12345\r\n"
        self.client.dataReceived(OK + head)
        self.assertEqual(UNKNOWN_LENGTH, self.successResultOf(answer).length)
        self.client.dataReceived(b"0\r\nX: y\r\n\r\n")
        self.assertEqual(1, self.idle)

    def test_chunks_of_next_to_nothing(self) -> None:
        """Millions of chunks of a byte cost more than they bring: the connection is closed."""
        answer = self.ask()
        self.client.dataReceived(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        self.successResultOf(answer)
        self.client.dataReceived(b"1\r\nx\r\n" * MAX_SMALL_CHUNKS)
        # One of them makes up for 128.
        self.client.dataReceived(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        self.assertFalse(self.socket.disconnected)
        self.client.dataReceived(b"1\r\nx\r\n" * MAX_SMALL_CHUNKS)
        self.assertTrue(self.socket.disconnected)

    def test_bytes_nobody_asked_for(self) -> None:
        """After an answer that continues beyond its end, the connection is not used again."""
        for method, data in (
            (b"HEAD", lengths("4") + b"body"),
            (b"GET", lengths("4") + b"body and more"),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\nbody"),
        ):
            self.setUp()
            answer = self.ask(method)
            self.client.dataReceived(data)
            self.successResultOf(answer)
            self.assertTrue(self.socket.disconnecting, data)
            self.assertEqual(0, self.idle, data)

    def test_nobody_asked(self) -> None:
        """What arrives on an idle connection closes it."""
        self.client.dataReceived(OK)
        self.assertTrue(self.socket.disconnected)

    def test_pool(self) -> None:
        """A pool's connections have these limits."""
        pool = BoundedPool(MemoryReactorClock())
        protocol = pool._factory(lambda _: None, "").buildProtocol(None)
        self.assertIsInstance(protocol, BoundedProtocol)
