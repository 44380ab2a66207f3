"""Every error and every incomplete response has its reason in the access log."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from oci_registry.logs import AccessEntry
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    TooManyRequests,
)
from oci_registry.web.root import Ready, Root
from tests.unit.web.handlers import HandlerTestCase
from tests.unit.web.support import Connection, SiteTestCase, WebTestCase

DATA = bytes(range(256)) * 1200


class OfErrors(HandlerTestCase):
    """Errors of the distribution API."""

    def reason(self, path: str, method: str = "GET", **headers: str) -> str | None:
        self.log.entries.clear()
        self.ask(path, method, **headers)
        (entry,) = self.log.entries
        self.assertGreaterEqual(entry.status, 400)
        return entry.error

    def test_bad_requests(self) -> None:
        """What is wrong with a request is said by code and message, as the client is told."""
        digest = f"/v2/library/app/blobs/{self.upstream.add_blob(b'12345')}"
        self.ask(digest)
        for path, method, reason in (
            ("/v2/UPPER/tags/list", "GET", "NAME_INVALID: "),
            ("/v2/a/manifests/-", "GET", "MANIFEST_INVALID: "),
            ("/v2/a/blobs/sha256:1", "HEAD", "DIGEST_INVALID: "),
            ("/v2/a/tags/list?n=x", "GET", "PAGINATION_NUMBER_INVALID: the field n must be"),
            ("/v2/a/uploads/", "POST", "UNSUPPORTED: the method 'POST' is not supported here"),
            ("/v2/nothing", "GET", "NAME_UNKNOWN: there is no such endpoint"),
        ):
            self.assertIn(reason, self.reason(path, method) or "", path)
        self.finish()
        got = self.reason(digest, Range="bytes=9-")
        self.assertEqual(
            "RANGE_INVALID: the range lies outside the content, which has 5 bytes", got
        )

    def test_answers_of_a_registry(self) -> None:
        """What upstream has answered is said for GET and HEAD, though a HEAD has no body."""
        for error in (
            Denied("upstream x denied access to y (status 401)"),
            TooManyRequests("upstream x rate limits requests"),
            BadGateway("upstream x: TLS: wrong version number"),
            GatewayTimeout("upstream x did not answer in time"),
        ):
            self.upstream.error = error
            for method in ("GET", "HEAD"):
                got = self.reason("/v2/library/app/manifests/1", method)
                self.assertEqual(f"{error.code}: {error.message}", got)

    def test_defect(self) -> None:
        """The client learns nothing of a defect; the access log has its type and text."""
        self.upstream.error = ZeroDivisionError("division by zero at https://me:pw@host/?sig=abc")
        expected = "UNKNOWN: ZeroDivisionError: division by zero at https://***@host/?***"
        self.assertEqual(expected, self.reason("/v2/library/app/tags/list"))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_success(self) -> None:
        """What has worked has no reason."""
        self.ask("/v2/")
        self.assertEqual([None], [entry.error for entry in self.log.entries])

    def test_cut_short(self) -> None:
        """A blob that breaks after the headers keeps its status, and has the reason."""
        digest = self.upstream.add_blob(DATA)
        self.ask(f"/v2/library/app/blobs/{digest}")
        (body,) = self.upstream.bodies
        body.send(DATA[: len(DATA) - 1])
        body.end(BadGateway("the upstream connection broke"))
        for connection in self.connections:
            connection.leave()
        (entry,) = self.log.entries
        self.assertEqual(200, entry.status)
        self.assertLess(entry.sent, len(DATA))
        self.assertIn("the upstream connection broke", entry.error or "")
        self.assertEqual("miss", entry.outcome)


class OfClients(SiteTestCase):
    """Responses that end with their connection."""

    def begin(self) -> Connection:
        connection = self.ask("/later")
        self.requests[-1].setHeader(b"Content-Length", b"100")
        self.requests[-1].write(b"part")
        return connection

    def logged(self) -> tuple[int, str | None]:
        (entry,) = self.log.entries
        return entry.status, entry.error

    def test_left_before(self) -> None:
        """A client that leaves before the response is the reason itself."""
        self.ask("/later").leave()
        expected = (499, "the client closed the connection before the response")
        self.assertEqual(expected, self.logged())

    def test_left_in_the_middle(self) -> None:
        """A client that leaves during the response is, too."""
        self.begin().leave()
        expected = (200, "the client closed the connection during the response")
        self.assertEqual(expected, self.logged())

    def test_given_up(self) -> None:
        """A client whose connection is closed by us did not close it."""
        connection = self.begin()
        self.requests[0].abort("the client has stopped reading")
        connection.leave()
        self.assertEqual((200, "the client has stopped reading"), self.logged())

    def test_stopping(self) -> None:
        """A response that outlives the grace period is cut off by us."""
        connection = self.begin()
        self.site.close(30)
        self.clock.advance(31)
        connection.leave()
        self.assertEqual((200, "the daemon is stopping"), self.logged())

    def test_failed_processing(self) -> None:
        """What fails on the way to its resource is a defect."""
        self.ask("/later")
        self.requests[0].processingFailed(Failure(ZeroDivisionError("x")))
        self.assertEqual((500, "UNKNOWN: ZeroDivisionError: x"), self.logged())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_any_other(self) -> None:
        """An error that nobody has explained has the phrase of its status."""
        self.ask("/later")
        self.requests[0].setResponseCode(405)
        self.reply(self.requests[0])
        self.assertEqual((405, "Method Not Allowed"), self.logged())


class OfRefusals(SiteTestCase):
    """What never becomes a request."""

    def refused(self, sent: bytes) -> AccessEntry:
        self.log.entries.clear()
        connection = self.connect()
        connection.send(sent)
        connection.channel.connectionLost(Failure(ConnectionDone()))
        connection.lost = True
        (entry,) = self.log.entries
        return entry

    def test_no_request_line(self) -> None:
        """What has no request line that can be understood shows none of it."""
        for sent, status, reason in (
            (b"\x16", 400, "This port speaks plain HTTP"),
            (b"nonsense\r\n", 400, "This is not a valid HTTP/1.1 request"),
            (b"GET /" + b"x" * 20_000, 414, "The request line is too long"),
        ):
            entry = self.refused(sent)
            self.assertEqual((status, reason), (entry.status, entry.error))
            self.assertEqual(("-", "-", "-"), (entry.method, entry.uri, entry.agent))
            self.assertEqual(("192.168.1.1", len(reason) + 1), (entry.client, entry.sent))

    def test_later(self) -> None:
        """What is known of the request by then is logged with it, without secrets."""
        line = b"PUT /v2/a?token=secret HTTP/1.1\r\n"
        host = b"Host: m\r\nUser-Agent: podman/4\r\n"
        for sent, status, agent in (
            (line.replace(b"1.1", b"2.0"), 505, "-"),
            (line + b"Host : m\r\n", 400, "-"),
            (line + host + b"a: b\r\nx: " + b"y" * 70_000, 431, "podman/4"),
            (line + host + b"Host: n\r\n\r\n", 400, "podman/4"),
            (line + host + b"Content-Length: 9999999\r\n\r\n", 413, "podman/4"),
            (line + host + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, "podman/4"),
        ):
            entry = self.refused(sent)
            self.assertEqual(("PUT", "/v2/a?token=***"), (entry.method, entry.uri), sent[-30:])
            self.assertEqual((status, agent), (entry.status, entry.agent), sent[-30:])
            self.assertTrue(entry.error)

    def test_after_a_request(self) -> None:
        """A malformed request does not appear as the one before it on the connection."""
        connection = self.ask("/first")
        connection.send(b"nonsense\r\n")
        last = self.log.entries[-1]
        self.assertEqual((2, "-", 400), (len(self.log.entries), last.uri, last.status))

    def test_not_wanted(self) -> None:
        """Without an access log nothing is written."""
        self.log.wanted = False
        self.connect().send(b"\x16")
        self.assertEqual([], self.log.entries)


class OfReadiness(WebTestCase):
    """The readiness page."""

    def test_path(self) -> None:
        """The page leaves out paths of this machine; the log has the reason in full."""
        error = "/var/lib/x: Input/output error"

        async def check() -> StoreState:
            return StoreState(unreadable=error)

        self.serve(Root(Ready(check)))
        answer = self.ask("/readyz").answer()
        self.assertNotIn(b"/var/lib/x", answer.body)
        (entry,) = self.log.entries
        self.assertEqual((503, f"not ready: {error}"), (entry.status, entry.error))


class OfSlowClients(HandlerTestCase):
    """Clients that take nothing."""

    def test_stopped_reading(self) -> None:
        """A client that has stopped reading is named as the reason."""
        digest = self.upstream.add_blob(DATA)
        connection = self.ask(f"/v2/library/app/blobs/{digest}")
        connection.channel.pauseProducing()
        (body,) = self.upstream.bodies
        body.send(DATA)
        body.end()
        self.watch.check()
        self.watch.check()
        self.assertTrue(connection.transport.aborted)
        connection.leave()
        self.assertEqual(["the client has stopped reading"], [e.error for e in self.log.entries])
