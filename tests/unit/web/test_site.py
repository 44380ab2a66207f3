"""The channel, the request and the site, on strings and a clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from zope.interface import alsoProvides

from oci_registry.pullthrough.outcome import Outcome
from oci_registry.web.site import (
    CLIENT_LEFT,
    IDLE_TIMEOUT,
    LINGER,
    MAX_BODY,
    REFUSED,
    RegistryRequest,
)
from tests.unit.web.support import WebTestCase


class SiteTestCase(WebTestCase):
    """A site that answers ``ok``, or later, or never."""

    def setUp(self) -> None:
        super().setUp()
        self.requests: list[RegistryRequest] = []
        self.serve(self.handle)

    def handle(self, request: RegistryRequest) -> None:
        self.requests.append(request)
        if not request.uri.startswith(b"/later"):
            self.reply(request)

    def reply(self, request: RegistryRequest, body: bytes = b"ok") -> None:
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def uris(self) -> list[bytes]:
        return [request.uri for request in self.requests]


class Arriving(SiteTestCase):
    """Requests as they come in."""

    def test_handshake(self) -> None:
        """A TLS ClientHello is refused at its first byte, and the rest of it is no request."""
        connection = self.connect()
        connection.send(b"\x16")
        self.assertEqual(400, connection.answer().status)
        self.assertIn(b"plain HTTP", connection.answer().body)
        self.assertTrue(connection.transport.closed)
        connection.send(b"GET /smuggled HTTP/1.1\r\n\r\n")
        self.assertEqual([], self.requests)

    def test_handshake_byte_later(self) -> None:
        """The byte of a handshake means nothing after the first one of a connection."""
        connection = self.connect()
        connection.send(b"PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
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
        """Whoever wants the connection closed gets that, and is told."""
        connection = self.ask("/", Connection="close")
        self.assertEqual("close", connection.answer().headers["connection"])
        self.assertTrue(connection.transport.disconnecting)

    def test_pipelined(self) -> None:
        """Pipelined requests are answered in order, each after the one before it."""
        connection = self.connect()
        head = b" HTTP/1.1\r\n\r\n"
        connection.send(b"GET /later" + head + b"GET /b" + head + b"GET /c" + head)
        self.assertEqual([b"/later"], self.uris())
        self.assertEqual(b"", connection.got)
        self.reply(self.requests[0], b"first")
        self.assertEqual([b"/later", b"/b", b"/c"], self.uris())
        self.assertEqual([b"first", b"ok", b"ok"], [a.body for a in connection.answers()])

    def test_many_pipelined(self) -> None:
        """Thousands of pipelined requests do not nest."""
        connection = self.connect()
        connection.send(b"GET / HTTP/1.1\r\n\r\n" * 5000)
        self.assertEqual(5000, len(connection.answers()))

    def test_pipelined_flood(self) -> None:
        """While a request is being answered, no more than a little is read ahead."""
        connection = self.ask("/later")
        for _ in range(20):
            connection.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
        self.assertEqual("paused", connection.transport.producerState)

    def test_body_is_thrown_away(self) -> None:
        """A body that is short enough is read, not kept, and its request answered."""
        for framing in (b"Content-Length: 1000", b"Transfer-Encoding: chunked"):
            connection = self.connect()
            connection.send(b"POST /later HTTP/1.1\r\n" + framing + b"\r\n\r\n")
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
            connection.send(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            for _ in range(MAX_BODY // 65536 + 1):
                connection.send(b"10000\r\n%b\r\n" % bytes(65536) if end else bytes(65536))
            connection.send(end)
            self.assertEqual(413, connection.answer().status)
            self.assertTrue(connection.transport.closed)
        self.assertEqual([], self.requests)

    def test_malformed(self) -> None:
        """What is not HTTP is refused, and nothing that follows it is looked at."""
        for request in (
            b"hello\r\n",
            b"GET /\r\n",
            b"GET / FTP/1.1\r\n",
            b"GET /\xe9 HTTP/1.1\r\n\r\n",
            b"G\xe9T / HTTP/1.1\r\n\r\n",
            b"GET /a b HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
        ):
            connection = self.connect()
            connection.send(request + b"GET /smuggled HTTP/1.1\r\n\r\n")
            connection.send(b"GET /smuggled HTTP/1.1\r\n\r\n")
            self.assertEqual(400, connection.answer().status, request)
            self.assertIn(b"not a request", connection.answer().body)
            self.assertTrue(connection.transport.closed)
        self.assertEqual([], self.requests)

    def test_header_floods(self) -> None:
        """Too many headers, too long ones and too long lines are refused."""
        for flood, status in (
            (b"".join(b"X-%d: y\r\n" % n for n in range(600)), 400),
            (b"X: %b\r\n" % (b"y" * 1000) * 20, 400),
            (b"X: " + b"y" * 20_000 + b"\r\n", 431),
            (b"X: " + b"y" * 100_000, 431),
        ):
            connection = self.connect()
            connection.send(b"GET / HTTP/1.1\r\n" + flood + b"\r\n")
            self.assertEqual(status, connection.answer().status)
            self.assertTrue(connection.transport.closed)
        self.assertEqual([], self.requests)

    def test_expect_continue(self) -> None:
        """Who asks whether to send a body is told to go on."""
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
        """The time begins anew after each response."""
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
        for byte in b"GET / HTTP/1.1\r\nA: b\r\n":
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

    def test_refused_client_that_goes_on(self) -> None:
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


class Leaving(SiteTestCase):
    """The ends of requests and of the site."""

    def test_client_leaves(self) -> None:
        """A client that leaves takes its request with it, and the access log says so."""
        connection = self.ask("/later")
        request = self.requests[0]
        self.assertFalse(request.gone)
        ended: list[Any] = []
        request.notifyFinish().addErrback(ended.append)
        connection.leave()
        self.assertEqual((1, True), (len(ended), request.gone))
        self.assertEqual([("/later", CLIENT_LEFT)], [(e.uri, e.status) for e in self.log.entries])
        request.abort()
        request.close_short()

    def test_client_leaves_in_the_middle(self) -> None:
        """A response that has begun is logged with what it began as."""
        connection = self.ask("/later")
        self.requests[0].setHeader(b"Content-Length", b"100")
        self.requests[0].write(b"part")
        connection.leave()
        self.assertEqual([(200, 4)], [(e.status, e.sent) for e in self.log.entries])

    def test_client_leaves_within_a_head(self) -> None:
        """A head that never arrived is no request to log."""
        connection = self.connect()
        connection.send(b"GET / HTTP/1.1\r\nHost:")
        connection.leave()
        self.assertEqual([], self.log.entries)

    def test_close_short(self) -> None:
        """A response that cannot be completed is closed in order, not reset."""
        connection = self.ask("/later")
        self.requests[0].setHeader(b"Content-Length", b"100")
        self.requests[0].write(b"part")
        self.requests[0].close_short()
        self.assertTrue(connection.transport.disconnecting)
        self.assertFalse(connection.transport.aborted)

    def test_abort(self) -> None:
        """A client that is given up is cut off."""
        connection = self.ask("/later")
        self.requests[0].abort()
        self.assertTrue(connection.transport.aborted)

    def test_connections_are_counted(self) -> None:
        """The site knows how many connections it has."""
        first, second = self.connect(), self.connect()
        self.assertEqual(2, self.site.connection_count())
        first.leave()
        self.assertEqual(1, self.site.connection_count())
        second.leave()
        self.assertEqual(0, self.site.connection_count())

    def test_close_without_connections(self) -> None:
        """A site that nobody talks to is closed at once, and accepts nobody afterwards."""
        self.successResultOf(self.site.close(30))
        self.assertIsNone(self.site.buildProtocol(None))

    def test_close(self) -> None:
        """Idle connections are closed at once, a busy one after its response."""
        idle, busy = self.connect(), self.ask("/later")
        closed = self.site.close(30)
        self.assertEqual((True, False), (idle.transport.closed, busy.transport.closed))
        idle.leave()
        self.assertNoResult(closed)
        self.reply(self.requests[0])
        self.assertEqual(200, busy.answer().status)
        self.assertTrue(busy.transport.disconnecting)
        busy.leave()
        self.successResultOf(closed)

    def test_close_within_a_head(self) -> None:
        """A request that was arriving is answered, with the word that it was the last."""
        connection = self.connect()
        connection.send(b"GET /a HTTP/1.1\r\n")
        self.site.close(30)
        connection.send(b"\r\nGET /b HTTP/1.1\r\n\r\n")
        self.assertEqual([b"/a"], self.uris())
        self.assertEqual("close", connection.answer().headers["connection"])
        self.assertTrue(connection.transport.disconnecting)

    def test_close_after_the_grace(self) -> None:
        """What outlives the grace period is cut off."""
        connection = self.ask("/later")
        closed = self.site.close(30)
        self.clock.advance(29)
        self.assertFalse(connection.transport.aborted)
        self.clock.advance(2)
        self.assertTrue(connection.transport.aborted)
        connection.leave()
        self.successResultOf(closed)

    def test_requests_end_before_the_site(self) -> None:
        """Whoever waits for the end of the site finds all requests ended."""
        connection = self.ask("/later")
        order: list[str] = []
        self.requests[0].notifyFinish().addErrback(lambda _: order.append("request"))
        self.site.close(30).addCallback(lambda _: order.append("site"))
        connection.leave()
        self.assertEqual(["request", "site"], order)


class Logging(SiteTestCase):
    """What the access log is told."""

    def test_entry(self) -> None:
        """A response is logged with who asked, for what, and what came of it."""
        self.ask("/later?n=1", User_Agent="podman/4")
        self.clock.advance(1.5)
        self.reply(self.requests[0], b"12345")
        (entry,) = self.log.entries
        self.assertEqual(("GET", "/later?n=1", 200), (entry.method, entry.uri, entry.status))
        self.assertEqual((5, 1.5, "podman/4"), (entry.sent, entry.seconds, entry.agent))
        self.assertEqual(("192.168.1.1", "HTTP/1.1"), (entry.client, entry.protocol))
        self.assertEqual((None, None), (entry.namespace, entry.outcome))

    def test_known_by_then(self) -> None:
        """What has become known of a request is logged with it."""
        self.ask("/later")
        self.requests[0].namespace = "docker.io"
        self.requests[0].outcome = Outcome.JOINED
        self.reply(self.requests[0], b"12345")
        (entry,) = self.log.entries
        self.assertEqual(("docker.io", "joined"), (entry.namespace, entry.outcome))

    def test_not_wanted(self) -> None:
        """Nothing is gathered where no log is wanted, and nothing secret where one is."""
        self.log.wanted = False
        self.ask("/")
        self.assertEqual([], self.log.entries)
        self.log.wanted = True
        self.ask("/", Authorization="Basic Tr0ub4dor", Cookie="Tr0ub4dor")
        self.assertNotIn("Tr0ub4dor", repr(self.log.entries))
        self.assertEqual(1, len(self.log.entries))

    def test_without_agent(self) -> None:
        """A client without a name is a dash."""
        self.ask("/")
        self.assertEqual("-", self.log.entries[0].agent)
