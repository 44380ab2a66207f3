"""Requests to the API: how they are read, answered and refused."""

from __future__ import annotations

import json

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from oci_registry.admin.fields import Choice, Parameter, Several, Text, Truth, Values, Whole
from oci_registry.admin.gate import TokenGate
from oci_registry.admin.requests import MAX_BODY
from oci_registry.admin.routes import Route
from oci_registry.management.as_json import PIECE
from oci_registry.management.as_json import Answer as Json
from oci_registry.management.problems import InUse, NotStored
from oci_registry.storage.interfaces import StoreError
from tests.unit.admin.support import ApiTestCase, Said

QUERY = (
    Parameter("name", Text(20), "a name", required=True),
    Parameter("limit", Whole(1, 10), "how many", default=5),
    Parameter("kind", Several(Choice(("a", "b")), 2), "which", default=()),
    Parameter("really", Truth(), "whether", default=False),
)


@frozen
class Listed(Json):
    """Texts."""

    texts: tuple[str, ...]


class Handling(ApiTestCase):
    """Three routes."""

    def setUp(self) -> None:
        super().setUp()
        self.error: Exception | None = None
        self.waiting: Deferred[None] | None = None
        self.ends: list[str] = []
        self.serve_routes(
            [
                Route("GET", "/things", "list", "T", "List", Said, self.handle, query=QUERY),
                Route(
                    "POST", "/things", "add", "T", "Add", Said, self.handle, body=QUERY, status=201
                ),
                Route(
                    "DELETE", "/things", "remove", "T", "Remove", Said, self.handle, query=QUERY[:1]
                ),
            ],
            at_once=2,
        )

    async def handle(self, values: Values) -> Said:
        if self.waiting is not None:
            try:
                await self.waiting
            except CancelledError:
                self.ends.append("cancelled")
                raise
            self.ends.append("done")
        if self.error is not None:
            raise self.error
        return Said(repr(dict(values)))

    def test_query(self) -> None:
        """Parameters in the query are decoded, checked, and have defaults."""
        answer = self.call("GET", "/api/v1/things?name=a%2Fb+c&kind=b&kind=a&really=true")
        expected = {"name": "a/b c", "limit": 5, "kind": ("b", "a"), "really": True}
        self.assertEqual((200, repr(expected)), (answer.status, json.loads(answer.body)["values"]))
        self.assertEqual("application/json", answer.headers["content-type"])
        self.assertEqual("nosniff", answer.headers["x-content-type-options"])
        self.assertNotIn("access-control-allow-origin", answer.headers)

    def test_body(self) -> None:
        """Parameters in a JSON object are read in the same way."""
        answer = self.call("POST", "/api/v1/things", {"name": "x", "kind": ["a"]})
        expected = {"name": "x", "limit": 5, "kind": ("a",), "really": False}
        self.assertEqual((201, repr(expected)), (answer.status, json.loads(answer.body)["values"]))

    def test_long(self) -> None:
        """A long answer is encoded in a thread, and a short one at once."""
        texts = [str(number) for number in range(PIECE + 1)]

        async def handle(values: Values) -> Listed:
            return Listed(tuple(texts[: values["n"]]))

        number = Parameter("n", Whole(0, PIECE + 1), "how many", required=True)
        self.serve_routes([Route("GET", "/n", "n", "T", "N", Listed, handle, query=(number,))])
        for count, in_threads in ((3, 0), (PIECE + 1, 1)):
            answer = self.call("GET", f"/api/v1/n?n={count}")
            self.assertEqual({"texts": texts[:count]}, json.loads(answer.body))
            self.assertEqual(str(len(answer.body)), answer.headers["content-length"])
            self.assertEqual(in_threads, self.in_threads)

    def test_bad_query(self) -> None:
        """What is wrong in a query is refused with its place and the reason."""
        for query, where in (
            ("", "name"),
            ("name=", "name"),
            ("name=x&name=y", "more than once"),
            ("name=x&limit=11", "limit: must be from 1 to 10"),
            ("name=x&limit=%00", "limit"),
            ("name=x&kind=c", "kind"),
            ("name=x&kind=a&kind=a&kind=a", "kind"),
            ("name=x&really=yes", "really"),
            ("name=x&other=1", "'other'"),
            ("name=%ff", "UTF-8"),
            ("name=" + "x" * 21, "more than 20"),
            ("&".join(["name=x"] * 101), "more than 100"),
        ):
            status, code, message = self.failure(self.call("GET", f"/api/v1/things?{query}"))
            self.assertEqual((400, "INVALID_REQUEST"), (status, code), query)
            self.assertIn(where, message)

    def test_bad_body(self) -> None:
        """What is wrong in a body is refused with its place and the reason."""
        for body, where in (
            (b"", "application/json"),
            (b"{", "not JSON: line 1"),
            (b"[]", "must be a JSON object"),
            (b'{"name": 1}', "field name"),
            (b'{"name": "x", "nam": 1}', "'nam'"),
            (b'{"name": "x", "name": "y"}', "has 'name' twice"),
            (b'{"name": NaN}', "not JSON"),
            (b"\xff", "UTF-8"),
            (b"[" * 60_000, "not JSON"),
            (b'{"limit": 1}', "field name: is required"),
        ):
            media_type = "application/json; charset=utf-8" if body else "text/plain"
            answer = self.send("POST", "/api/v1/things", body, media_type).answer()
            status, code, message = self.failure(answer)
            expected = (400, "INVALID_REQUEST") if body else (415, "UNSUPPORTED_MEDIA_TYPE")
            self.assertEqual(expected, (status, code), body[:40])
            self.assertIn(where, message)

    def test_form(self) -> None:
        """A form, which a page of another site can send, is refused."""
        answer = self.send("POST", "/api/v1/things", b"name=x", "text/plain").answer()
        self.assertEqual(415, answer.status)

    def test_large_body(self) -> None:
        """A body beyond the limit is refused, and nothing of it is kept."""
        body = b'{"name": "' + b"x" * MAX_BODY + b'"}'
        answer = self.send("POST", "/api/v1/things", body, "application/json").answer()
        self.assertEqual((413, "TOO_LARGE"), self.failure(answer)[:2])

    def test_very_large_body(self) -> None:
        """A body that is too large to be read, however it is sent, gets the same answer."""
        for framing in ("Content-Length: 9999999", "Transfer-Encoding: chunked"):
            connection = self.connect()
            head = f"POST /api/v1/things HTTP/1.1\r\nHost: mirror\r\n{framing}\r\n\r\n"
            connection.send(head.encode() + b"fffffff\r\n")
            answer = connection.answer()
            said = f"the body has more than {MAX_BODY} bytes"
            self.assertEqual((413, "TOO_LARGE", said), self.failure(answer))
            self.assertEqual("application/json", answer.headers["content-type"])

    def test_useless_body(self) -> None:
        """A request that takes no body must not have one."""
        answer = self.send("DELETE", "/api/v1/things?name=x", b"{}", "application/json").answer()
        self.assertEqual(400, answer.status)

    def test_methods(self) -> None:
        """Other methods get a 405 with those that are allowed; HEAD is a GET without a body."""
        answer = self.call("PUT", "/api/v1/things")
        self.assertEqual(405, answer.status)
        self.assertEqual("DELETE, GET, HEAD, POST", answer.headers["allow"])
        self.assertEqual(405, self.call("OPTIONS", "/api/v1/things").status)
        self.assertEqual(200, self.call("HEAD", "/api/v1/things?name=x").status)

    def test_paths(self) -> None:
        """There is nothing at any other path, however it is written."""
        for path in ("/", "/api", "/api/v1", "/api/v1/thing", "/api/v1/things/", "/api/v2/things",
                     "/api/v1/%74hings", "/api/v1/../v1/things", "/api/v1//things"):  # fmt: skip
            self.assertEqual((404, "NOT_FOUND"), self.failure(self.call("GET", path))[:2], path)

    def test_problems(self) -> None:
        """What the store says becomes an error with its code; a defect is logged and not shown."""
        for error, expected in (
            (NotStored("x is not stored"), (404, "NOT_FOUND", "x is not stored")),
            (InUse("busy"), (409, "IN_USE", "busy")),
            (StoreError("the disk is gone"), (503, "UNAVAILABLE", "the disk is gone")),
        ):
            self.error = error
            answer = self.call("GET", "/api/v1/things?name=x")
            self.assertEqual(expected, self.failure(answer))
        self.error = ZeroDivisionError("secret")
        status, _, message = self.failure(self.call("GET", "/api/v1/things?name=x"))
        self.assertEqual(500, status)
        self.assertNotIn("secret", message)
        self.assertEqual(1, len(self.flushLoggedErrors()))

    def test_leaving_reader(self) -> None:
        """When the client leaves, a question is cancelled, and a change is carried out."""
        for method, end in (("GET", "cancelled"), ("DELETE", "done")):
            self.waiting = Deferred()
            connection = self.ask("/api/v1/things?name=x", method)
            connection.leave()
            if not self.waiting.called:
                self.waiting.callback(None)
            self.assertEqual(end, self.ends.pop())

    def test_failing_change(self) -> None:
        """A change that fails when nobody waits for it any more is logged."""
        self.waiting, self.error = Deferred(), ValueError("no")
        self.ask("/api/v1/things?name=x", "DELETE").leave()
        self.waiting.callback(None)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_told_of_changes(self) -> None:
        """Others are told of each change when it has ended, also of one that fails or that nobody waits for."""
        self.call("GET", "/api/v1/things?name=x")
        self.assertEqual(0, self.changes)
        self.call("DELETE", "/api/v1/things?name=x")
        self.assertEqual(1, self.changes)
        self.error = NotStored("no")
        self.call("POST", "/api/v1/things", {"name": "x"})
        self.assertEqual(2, self.changes)
        self.waiting, self.error = Deferred(), None
        self.ask("/api/v1/things?name=x", "DELETE").leave()
        self.assertEqual(2, self.changes)
        self.waiting.callback(None)
        self.assertEqual(3, self.changes)

    def test_late_answer(self) -> None:
        """A question that takes too long gets a 503."""
        self.waiting = Deferred()
        connection = self.ask("/api/v1/things?name=x")
        self.clock.advance(60)
        self.assertEqual((503, "UNAVAILABLE"), self.failure(connection.answer())[:2])

    def test_many_at_once(self) -> None:
        """Only so many requests are handled at once; those beyond get a Retry-After."""
        self.waiting = Deferred()
        for _ in range(2):
            self.ask("/api/v1/things?name=x")
        answer = self.call("GET", "/api/v1/things?name=x")
        self.assertEqual((503, "BUSY"), self.failure(answer)[:2])
        self.assertEqual("1", answer.headers["retry-after"])
        self.waiting.callback(None)

    def test_counted(self) -> None:
        """Requests are counted under one label, and logged."""
        self.call("GET", "/api/v1/things?name=x")
        self.call("BREW", "/api/v1/things")
        page = b"".join(self.metrics.pieces()).decode()
        for method, status in (("GET", 200), ("other", 405)):
            labels = f'{{method="{method}",route="admin",status="{status}"}}'
            self.assertIn(f"oci_registry_requests_total{labels} 1.0", page)
        self.assertEqual([200, 405], [entry.status for entry in self.log.entries])


class WithoutToken(ApiTestCase):
    """A listener without a token."""

    def test_nothing(self) -> None:
        """Nothing is told without the token: not even what there is."""
        self.serve_routes([], TokenGate(None))
        for path in ("/api/v1/openapi.json", "/api/v1/x"):
            status, code, message = self.failure(self.call("GET", path))
            self.assertEqual((403, "FORBIDDEN"), (status, code))
            self.assertIn("--admin-token-file", message)
