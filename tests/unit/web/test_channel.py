"""The channel, on strings and a clock."""

from __future__ import annotations

import sys

from twisted.internet.interfaces import ISSLTransport
from zope.interface import alsoProvides

from oci_registry.web.channel import LINGER, MAX_BODY, REFUSED
from oci_registry.web.head import MAX_FIELDS_SIZE, MAX_REQUEST_LINE
from oci_registry.web.site import IDLE_TIMEOUT
from tests.unit.web.support import SiteTestCase


class Arriving(SiteTestCase):
    """Requests as they come in."""

    def test_handshake(self) -> None:
        """A TLS ClientHello is refused at its first byte, and the rest of it is no request."""
        connection = self.connect()
        connection.send(b"\x16")
        self.assertEqual(400, connection.answer().status)
        self.assertIn(b"plain HTTP", connection.answer().body)
        self.assertTrue(connection.transport.closed)
        connection.send(b"GET /smuggled HTTP/1.1\r\nHost: m\r\n\r\n")
        self.assertEqual([], self.requests)

    def test_handshake_byte_later(self) -> None:
        """The byte of a handshake means nothing after the first one of a connection."""
        connection = self.connect()
        connection.send(b"PUT / HTTP/1.1\r\nHost: m\r\nContent-Length: 1\r\n\r\n")
        connection.send(b"\x16")
        self.assertEqual(200, connection.answer().status)

    def test_byte_by_byte(self) -> None:
        """A request may arrive in pieces of any size."""
        connection = self.connect()
        for byte in b"GET /a HTTP/1.1\r\nHost: m\r\n\r\n":
            connection.send(bytes([byte]))
        self.assertEqual([b"/a"], self.uris())
        self.assertEqual(b"ok", connection.answer().body)

    def test_http_1_0(self) -> None:
        """A request of HTTP/1.0 is answered, and its connection closed."""
        connection = self.connect()
        connection.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(b"ok", connection.answer().body)
        self.assertTrue(connection.got.startswith(b"HTTP/1.0 200"))
        self.assertTrue(connection.transport.disconnecting)

    def test_connection_close(self) -> None:
        """A client that wants the connection closed gets that, and a header that says so."""
        connection = self.ask("/", Connection="close")
        self.assertEqual("close", connection.answer().headers["connection"])
        self.assertTrue(connection.transport.disconnecting)

    def test_connection_options(self) -> None:
        """It may be one wish among others, and on any line."""
        for lines in (b"Connection: TE, Close\r\n", b"Connection: TE\r\nConnection: close\r\n"):
            connection = self.connect()
            connection.send(b"GET / HTTP/1.1\r\nHost: m\r\n" + lines + b"\r\n")
            self.assertTrue(connection.transport.disconnecting)

    def test_pipelined(self) -> None:
        """Pipelined requests are answered in order, each after the one before it."""
        connection = self.connect()
        head = b" HTTP/1.1\r\nHost: m\r\n\r\n"
        connection.send(b"GET /later" + head + b"GET /b" + head + b"GET /c" + head)
        self.assertEqual([b"/later"], self.uris())
        self.assertEqual(b"", connection.got)
        self.reply(self.requests[0], b"first")
        self.assertEqual([b"/later", b"/b", b"/c"], self.uris())
        self.assertEqual([b"first", b"ok", b"ok"], [a.body for a in connection.answers()])

    def test_many_pipelined(self) -> None:
        """Pipelined requests do not nest, however many there are."""
        count = sys.getrecursionlimit() + 100
        connection = self.connect()
        connection.send(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n" * count)
        self.assertEqual(count, len(connection.answers()))

    def test_pipelined_flood(self) -> None:
        """While a request is being answered, no more than a little is read ahead."""
        connection = self.ask("/later")
        for _ in range(20):
            connection.send(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n" * 100)
        self.assertEqual("paused", connection.transport.producerState)

    def test_body_is_thrown_away(self) -> None:
        """A body that is short enough is read, not kept, and its request answered."""
        for framing in (b"Content-Length: 1000", b"Transfer-Encoding: chunked"):
            connection = self.connect()
            connection.send(b"POST /later HTTP/1.1\r\nHost: m\r\n" + framing + b"\r\n\r\n")
            chunked = framing.endswith(b"chunked")
            connection.send(b"3e8\r\n" * chunked + bytes(1000) + b"\r\n0\r\n\r\n" * chunked)
            content = self.requests[-1].content
            self.assertEqual(b"", content.read() if content else None)
            self.reply(self.requests[-1])
            self.assertEqual(200, connection.answer().status)

    def test_form_is_not_parsed(self) -> None:
        """A body that says it is a form, even a broken one, is as good as any other."""
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "multipart/x; b="):
            connection = self.connect()
            connection.ask("/", "POST", Content_Type=kind, Content_Length="3")
            connection.send(b"a=b")
            self.assertEqual(200, connection.answer().status)

    def test_large_body(self) -> None:
        """A body without end is refused once; its request, when it ends after all, is not answered."""
        for framing, end in (
            (b"Content-Length: %d" % (MAX_BODY + 65536), b""),
            (b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
        ):
            connection = self.connect()
            connection.send(b"PUT / HTTP/1.1\r\nHost: m\r\n" + framing + b"\r\n\r\n")
            for _ in range(MAX_BODY // 65536 + 1):
                connection.send(b"10000\r\n%b\r\n" % bytes(65536) if end else bytes(65536))
            connection.send(end)
            self.assertEqual(413, connection.answer().status)
            self.assertTrue(connection.transport.closed)
        self.assertEqual([], self.requests)

    def test_body_of_absurd_length(self) -> None:
        """A body that says that it will be too large is refused before it comes."""
        for framing in (
            b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (MAX_BODY + 1),
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY + 1),
        ):
            connection = self.connect()
            connection.send(b"PUT / HTTP/1.1\r\nHost: m\r\n" + framing)
            self.assertEqual(413, connection.answer().status)
            self.assertTrue(connection.transport.closed)

    def refused(self, sent: bytes, status: int) -> None:
        """What was *sent* is refused at once, and nothing that follows it is looked at."""
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: m\r\n\r\n"
        for more in (b"", smuggled):
            connection = self.connect()
            connection.send(sent + more)
            answer = connection.answer()
            self.assertEqual(status, answer.status, sent[:200])
            self.assertEqual("close", answer.headers["connection"])
            self.assertTrue(answer.body.endswith(b"\n"))
            self.assertTrue(connection.transport.closed)
            connection.send(smuggled)
            self.assertEqual(1, len(connection.answers()))
        self.assertEqual([], self.requests)

    def test_malformed(self) -> None:
        """What is not HTTP is refused as soon as that is seen."""
        for sent in (
            b"hello\r\n",
            b"\0",
            b"\x05\x01\0",
            b"GET /\r\n",
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\r\nHost: m\n",
            b"GET / HTTP/1.1\r\nHost: m\nA: b\r\n",
            b"\n",
            b"GET / HTTP/1.1\rHost: m",
            b"\r\n" * 9,
        ):
            self.refused(sent, 400)
        self.refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_malformed_heads(self) -> None:
        """A head that is ambiguous to other servers is refused, not repaired."""
        for fields, status in (
            (b"", 400),
            (b"Host: m\r\nHost: m\r\n", 400),
            (b"Host: m\r\nA: b\r\n c\r\n", 400),
            (b"Host: m\r\nContent-Length: %b\r\n" % (b"1" * 5000), 400),
            (b"Host: m\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
            (b"Host: m\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
            (b"Host: m\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(600)), 431),
            (b"Host: m\r\nX: %b\r\n" % (b"y" * MAX_FIELDS_SIZE), 431),
        ):
            self.refused(b"GET / HTTP/1.1\r\n" + fields + b"\r\n", status)
        self.refused(b"GET / HTTP/1.1\r\nHost: m\r\nX: " + b"y" * MAX_FIELDS_SIZE, 431)
        self.refused(b"GET / HTTP/1.1\r\nX: " + b"y" * 2 * MAX_FIELDS_SIZE + b"\r\n", 431)
        self.refused(b"GET /" + b"y" * MAX_REQUEST_LINE, 414)
        self.refused(b"GET /" + b"y" * 2 * MAX_FIELDS_SIZE + b" HTTP/1.1\r\n", 414)

    def test_malformed_chunks(self) -> None:
        """A chunk of no size, or of an absurd one, is refused while there is nothing more to read."""
        for chunk in (
            b"x",
            b"-1",
            b"0x10",
            b"f" * 9,
            b"1" * 5000,
            b"3;" + b"y" * 5000,
            b"3\r\nabcd",
        ):
            head = b"PUT / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.refused(head + chunk, 400)

    def test_large_heads(self) -> None:
        """A head of 64 KiB is accepted, whether it is one header or hundreds."""
        for fields in (
            b"Authorization: Bearer %b\r\n" % (b"y" * (MAX_FIELDS_SIZE - 64)),
            b"".join(b"X-%03d: %b\r\n" % (n, b"y" * 120) for n in range(490)),
        ):
            head = b"GET /a HTTP/1.1\r\nHost: m\r\n" + fields + b"\r\n"
            for size in (len(head), 5000):
                connection = self.connect()
                for start in range(0, len(head), size):
                    connection.send(head[start : start + size])
                self.assertEqual(200, connection.answer().status)

    def test_empty_lines(self) -> None:
        """A few empty lines before a request are passed over, in pieces too."""
        connection = self.connect()
        for data in (b"\r\n\r", b"\n", b"GET /a HTTP/1.1\r\nHost: m\r\n\r\n", b"\r\n"):
            connection.send(data)
        connection.send(b"\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        self.assertEqual([b"/a", b"/b"], self.uris())

    def test_pipelined_after_a_body(self) -> None:
        """What follows a body is the next request, and is judged when it is its turn."""
        head = b"PUT /later HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection = self.connect()
        connection.send(head + b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
        self.assertEqual(b"", connection.got)
        self.reply(self.requests[0])
        self.assertEqual([b"/later"], self.uris())
        self.assertEqual([200, 400], [answer.status for answer in connection.answers()])
        self.assertTrue(connection.transport.closed)

    def test_expect_continue(self) -> None:
        """A client that asks whether to send a body is told to continue."""
        connection = self.connect()
        connection.ask("/", "PUT", Expect="100-continue", Content_Length="2")
        self.assertEqual(b"HTTP/1.1 100 Continue\r\n\r\n", connection.got)
        connection.send(b"ab")
        self.assertEqual([100, 200], [answer.status for answer in connection.answers()])


class Waiting(SiteTestCase):
    """How long a connection may do nothing."""

    def test_idle(self) -> None:
        """A silent connection is closed after a while."""
        connection = self.connect()
        self.clock.advance(IDLE_TIMEOUT - 1)
        self.assertFalse(connection.transport.closed)
        self.clock.advance(2)
        self.assertTrue(connection.transport.disconnecting)

    def test_idle_between_requests(self) -> None:
        """The time begins again after each response."""
        connection = self.connect()
        for _ in range(3):
            self.clock.advance(IDLE_TIMEOUT - 1)
            connection.ask("/")
        self.assertFalse(connection.transport.closed)
        self.clock.advance(IDLE_TIMEOUT + 1)
        self.assertTrue(connection.transport.disconnecting)

    def test_slow_head(self) -> None:
        """A head that trickles in buys no time with each byte."""
        connection = self.connect()
        for byte in b"GET / HTTP/1.1\r\nHost: m\r\nA: b\r\n":
            connection.send(bytes([byte]))
            self.clock.advance(IDLE_TIMEOUT / 10)
        self.assertTrue(connection.transport.disconnecting)

    def test_slow_answer(self) -> None:
        """A request that is being answered is waited for."""
        connection = self.ask("/later")
        self.clock.advance(IDLE_TIMEOUT * 10)
        self.reply(self.requests[0])
        self.assertEqual(200, connection.answer().status)

    def test_client_that_does_not_take_the_rest(self) -> None:
        """A closed connection whose client does not read is cut off in the end."""
        connection = self.ask("/", Connection="close")
        self.clock.advance(LINGER - 1)
        self.assertFalse(connection.transport.aborted)
        self.clock.advance(2)
        self.assertTrue(connection.transport.aborted)

    def test_refused_client_that_continues(self) -> None:
        """A refused client is listened to for a moment, so that it can read the answer."""
        connection = self.connect()
        connection.send(b"nonsense\r\n")
        self.assertTrue(connection.transport.write_closed)
        self.assertFalse(connection.transport.disconnecting)
        for _ in range(4):
            connection.send(b"more nonsense\r\n")
            self.clock.advance(REFUSED / 3)
        self.assertTrue(connection.transport.aborted)

    def test_refused_over_tls(self) -> None:
        """TLS has no half-closed connections: a refused one is closed."""
        connection = self.connect()
        alsoProvides(connection.transport, ISSLTransport)
        connection.send(b"nonsense\r\n")
        self.assertTrue(connection.transport.disconnecting)
