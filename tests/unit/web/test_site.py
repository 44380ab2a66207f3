"""The request and the site, on strings and a clock."""

from __future__ import annotations

from typing import Any

from oci_registry.pullthrough.outcome import Outcome
from oci_registry.web.site import CLIENT_LEFT
from tests.unit.web.support import SiteTestCase


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
        request.abort("no")
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
        self.requests[0].abort("given up")
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
        connection.send(b"Host: m\r\n\r\nGET /b HTTP/1.1\r\nHost: m\r\n\r\n")
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
        """When the site has ended, all requests have ended."""
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

    def test_absolute_target(self) -> None:
        """A target in absolute form is logged as it came, without what may be secret."""
        self.ask("http://user:Tr0ub4dor@mirror:8080/v2/?ns=docker.io&token=Tr0ub4dor")
        self.assertEqual(b"/v2/?ns=docker.io&token=Tr0ub4dor", self.requests[0].uri)
        uri = self.log.entries[0].uri
        self.assertEqual("http://***@mirror:8080/v2/?ns=docker.io&token=***", uri)
