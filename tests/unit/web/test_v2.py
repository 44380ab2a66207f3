"""One leaf for everything below /v2: parse, dispatch, count."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BlobUnknown
from oci_registry.spec.reference import Tag
from oci_registry.spec.routes import BlobRoute, ManifestRoute, ReferrersRoute, TagsRoute
from oci_registry.upstream.table import Target
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.pace import AT_ONCE
from oci_registry.web.reply import Handler, Reply, RequestInfo, content
from oci_registry.web.v2 import V2
from tests.unit.web.support import WebTestCase, docker_hub

DIGEST = Digest.of(b"x")


class Dispatch(WebTestCase):
    """Requests and the handlers that get them."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.routes: list[Any] = []
        self.waiting: Deferred[None] | None = None
        self.error: Exception | None = None
        kinds: tuple[type, ...] = (ManifestRoute, BlobRoute, TagsRoute, ReferrersRoute)
        handlers: dict[type, Handler] = dict.fromkeys(kinds, self.handle)
        table, watch = docker_hub(), ClientWatch(self.clock)
        self.serve(V2(handlers, table, watch, self.clock, self.metrics))

    async def handle(self, target: Target, route: Any, request: RequestInfo) -> Reply:
        self.routes.append(route)
        if self.waiting is not None:
            await self.waiting
        if self.error is not None:
            raise self.error
        return Reply(200, content("a/b", 2), b"ok")

    def counted(self, route: str, method: str, status: str) -> float | None:
        labels = {"route": route, "method": method, "status": status}
        return self.metrics.registry.get_sample_value("oci_registry_requests_total", labels)

    def test_routes(self) -> None:
        """Each kind of path reaches its handler, parsed once and for all."""
        for path, kind in (
            ("/v2/a/b/manifests/1?ns=docker.io", ManifestRoute),
            (f"/v2/a/blobs/{DIGEST}", BlobRoute),
            ("/v2/a/tags/list?n=3&last=x", TagsRoute),
            (f"/v2/a/referrers/{DIGEST}?artifactType=t", ReferrersRoute),
        ):
            self.assertEqual(200, self.ask(path).answer().status)
            self.assertIsInstance(self.routes[-1], kind)
        manifest, blob, tags, referrers = self.routes
        self.assertEqual(
            ("a/b", Tag("1"), "docker.io"), (manifest.name.text, manifest.reference, manifest.ns)
        )
        self.assertEqual((DIGEST, None), (blob.digest, blob.ns))
        self.assertEqual((3, "x"), (tags.n, tags.last))
        self.assertEqual("t", referrers.artifact_type)

    def test_base(self) -> None:
        """The base is answered here, by whatever name and query."""
        for path in ("/v2/", "/v2", "/v2/?ns=nonsense%"):
            for method, body in (("GET", b"{}"), ("HEAD", b"")):
                answer = self.ask(path, method).answer(method)
                self.assertEqual((200, body), (answer.status, answer.body))
                self.assertEqual("2", answer.headers["content-length"])
        self.assertEqual([], self.routes)
        self.assertEqual(3, self.counted("base", "GET", "200"))

    def test_version_header(self) -> None:
        """Every answer says which API this is, errors too."""
        for path in ("/v2/", "/v2/a/tags/list", "/v2/nothing", "/v2/UPPER/tags/list"):
            headers = self.ask(path).answer().headers
            self.assertEqual("registry/2.0", headers["docker-distribution-api-version"])

    def test_methods(self) -> None:
        """Only GET and HEAD are offered; a method that was made up is not a label of its own."""
        for method in ("POST", "DELETE", "get", "BREW"):
            answer = self.ask("/v2/a/tags/list", method).answer()
            self.assertEqual((405, "UNSUPPORTED"), (answer.status, answer.code))
            self.assertEqual("GET, HEAD", answer.headers["allow"])
        self.assertEqual(4, self.counted("none", "other", "405"))
        self.assertEqual([], self.routes)

    def test_bad_paths(self) -> None:
        """What cannot be parsed is refused before any handler sees it."""
        for path, status in (
            ("/v2/../tags/list", 400),
            ("/v2/a%2Fb/tags/list", 400),
            ("/v2/a/blobs/latest", 400),
            ("/v2/a/uploads", 404),
        ):
            self.assertEqual(status, self.ask(path).answer().status)
        self.assertEqual([], self.routes)

    def test_errors(self) -> None:
        """What a handler raises is its answer."""
        self.error = BlobUnknown("no")
        answer = self.ask(f"/v2/a/blobs/{DIGEST}").answer()
        self.assertEqual((404, "BLOB_UNKNOWN"), (answer.status, answer.code))
        self.assertEqual(1, self.counted("blob", "GET", "404"))

    def test_defects(self) -> None:
        """A handler that crashes is a 500, and the connection continues."""
        self.error = ZeroDivisionError("detail")
        connection = self.ask("/v2/a/tags/list")
        self.assertEqual((500, "UNKNOWN"), (connection.answer().status, connection.answer().code))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.error = None
        connection.ask("/v2/a/tags/list")
        self.assertEqual(200, connection.answers()[1].status)

    def test_later(self) -> None:
        """A handler may take its time; the time is measured."""
        self.waiting = Deferred()
        connection = self.ask("/v2/a/tags/list")
        self.assertEqual(b"", connection.got)
        self.clock.advance(3)
        self.waiting.callback(None)
        self.assertEqual(200, connection.answer().status)
        seconds = self.metrics.registry.get_sample_value(
            "oci_registry_request_seconds_sum", {"route": "tags"}
        )
        self.assertEqual(3, seconds)

    def test_client_that_leaves(self) -> None:
        """When the client leaves, what it waited for is cancelled, quietly, and it is counted."""
        cancelled: list[object] = []
        self.waiting = Deferred(cancelled.append)
        connection = self.ask("/v2/a/tags/list")
        connection.leave()
        self.assertEqual(1, len(cancelled))
        self.assertEqual(1, self.counted("tags", "GET", "gone"))

    def test_client_that_leaves_too_late(self) -> None:
        """A handler that ends after the client has left has answered nobody, and nothing is wrong."""

        def shielded(_: object) -> None:
            waiting.callback(None)

        waiting: Deferred[None] = Deferred(shielded)
        self.waiting = waiting
        connection = self.ask("/v2/a/tags/list")
        connection.leave()
        self.assertEqual(b"", connection.got)
        self.assertEqual([], self.flushLoggedErrors())

    def test_many_at_once(self) -> None:
        """Requests beyond those of one iteration are answered in the next ones, in order."""
        connections = [self.ask(f"/v2/a/manifests/{number}") for number in range(AT_ONCE + 3)]
        self.assertEqual(AT_ONCE, len(self.routes))
        connections[AT_ONCE].leave()
        self.clock.advance(0)
        self.assertEqual(
            [str(n) for n in range(AT_ONCE)], [str(r.reference) for r in self.routes[:AT_ONCE]]
        )
        self.assertEqual(
            [Tag(str(AT_ONCE + 1)), Tag(str(AT_ONCE + 2))],
            [r.reference for r in self.routes[AT_ONCE:]],
        )
        self.assertEqual(200, connections[-1].answer().status)

    def test_many_failures_at_once(self) -> None:
        """Requests that fail at one instant are answered in several iterations; others may leave meanwhile."""
        waiting: Deferred[None] = Deferred()
        self.waiting = waiting
        connections = []
        for number in range(AT_ONCE * 2):
            connections.append(self.ask(f"/v2/a/manifests/{number}"))
            self.clock.advance(0)
        self.error = BlobUnknown("there is none")
        waiting.callback(None)
        answered = [connection for connection in connections if connection.got]
        self.assertLessEqual(len(answered), AT_ONCE)
        connections[-1].leave()
        self.clock.advance(0)
        statuses = {connection.answer().status for connection in connections[:-1]}
        self.assertEqual({404}, statuses)
        self.assertEqual(1, self.counted("manifest", "GET", "gone"))
