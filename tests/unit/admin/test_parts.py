"""Routes of parts that a daemon may have: the scrub, and single tags."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from oci_registry.admin.answers import ScrubState
from oci_registry.admin.openapi import document
from oci_registry.admin.routes import RouteTable
from oci_registry.admin.scrubbing import ScrubHandlers, scrub_routes
from oci_registry.admin.tagging import TagHandlers, tag_routes
from oci_registry.events import EventLog
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestUnknown
from oci_registry.spec.image import parse_image
from tests.unit.admin.support import ApiTestCase

IDLE = ScrubState(False, "", 0, 0, 0, 0, 0, 0, 0, 0, None, None, 0.0, None)
DIGEST = Digest.of(b"x")


class FakeScrub:
    """A scrub that does as it is told."""

    def __init__(self) -> None:
        self.status: Any = IDLE
        self.rate: float | None = None

    def start(self, rate: float | None = None) -> bool:
        self.rate = rate
        self.status = evolve(IDLE, running=True, since=1.0)
        return True

    def stop(self) -> Deferred[None]:
        self.status = evolve(self.status, running=False)
        return succeed(None)


class Scrubs(ApiTestCase):
    """The scrub."""

    def test_scrub(self) -> None:
        """It is started, with a rate if one is given, watched and stopped."""
        scrub = FakeScrub()
        self.serve_routes(scrub_routes(ScrubHandlers(scrub)))
        for method, body, status, runs in (
            ("GET", None, 200, False),
            ("POST", {"rate": 1000}, 202, True),
            ("GET", None, 200, True),
            ("DELETE", None, 200, False),
        ):
            answer = self.call(method, "/api/v1/scrub", body)
            self.assertEqual((status, runs), (answer.status, json.loads(answer.body)["running"]))
        self.assertEqual(1000.0, scrub.rate)
        self.call("POST", "/api/v1/scrub")
        self.assertIsNone(scrub.rate)
        self.assertEqual(400, self.call("POST", "/api/v1/scrub", {"rate": -1}).status)


class Refused(Exception):
    """Something is not possible."""


class FakeStatus:
    """What is known of a tag."""

    def to_json(self) -> dict[str, object]:
        when = "2026-01-01T00:00:00Z"
        seen = {"digest": "a", "first_seen": when, "last_confirmed": when, "adopted": True}
        return {"digest": "a", "hold": None, "waiting": None, "history": [seen]}


class FakeTags:
    """Tags that note what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    async def _ask(self, *what: Any) -> FakeStatus:
        self.asked.append(what)
        if self.error is not None:
            raise self.error
        return FakeStatus()

    async def history(self, *names: str) -> FakeStatus:
        return await self._ask("history", *names)

    async def hold(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> FakeStatus:
        return await self._ask("hold", host, repository, tag, digest)

    async def rollback(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> FakeStatus:
        return await self._ask("rollback", host, repository, tag, digest)

    async def release(self, *names: str) -> FakeStatus:
        return await self._ask("release", *names)

    async def adopt(self, *names: str) -> FakeStatus:
        return await self._ask("adopt", *names)


class Tags(ApiTestCase):
    """Single tags."""

    def setUp(self) -> None:
        super().setUp()
        self.tags, self.events = FakeTags(), EventLog(self.clock)
        handlers = TagHandlers(self.tags, parse_image, Refused, self.events)
        self.serve_routes(tag_routes(handlers))

    def test_requests(self) -> None:
        """Each request reaches the tag that it names; changes are events."""
        names = ("docker.io", "library/x", "latest")
        self.assertEqual(200, self.call("GET", "/api/v1/history?image=x").status)
        for what in ("hold", "rollback", "release", "adopt"):
            self.assertEqual(200, self.call("POST", f"/api/v1/{what}", {"image": "x"}).status)
        body = {"image": "x", "digest": str(DIGEST)}
        self.assertEqual(200, self.call("POST", "/api/v1/hold", body).status)
        expected = [("history", *names), ("hold", *names, None), ("rollback", *names, None),
                    ("release", *names), ("adopt", *names), ("hold", *names, DIGEST)]  # fmt: skip
        self.assertEqual(expected, self.tags.asked)
        told = [event.fields["what"] for event in self.events.since(0)]
        self.assertEqual(["hold", "rollback", "release", "adopt", "hold"], told)

    def test_refused(self) -> None:
        """What is not possible, not known or no tag is an error with its code."""
        for error, expected in (
            (Refused("not held"), (409, "NOT_POSSIBLE")),
            (ManifestUnknown("never pulled"), (404, "MANIFEST_UNKNOWN")),
        ):
            self.tags.error = error
            answer = self.call("POST", "/api/v1/release", {"image": "x"})
            self.assertEqual(expected, self.failure(answer)[:2])
        for body in ({"image": f"x@{DIGEST}"}, {"image": "X//"}, {"image": "x", "digest": "y"}):
            self.assertEqual(400, self.call("POST", "/api/v1/hold", body).status, body)
        self.assertEqual([], self.events.since(0))

    def test_described(self) -> None:
        """They can be described."""
        handlers = TagHandlers(self.tags, parse_image, Refused, self.events)
        routes = [*tag_routes(handlers), *scrub_routes(ScrubHandlers(FakeScrub()))]
        paths = document(RouteTable(routes))["paths"]
        self.assertEqual({"get", "post", "delete"}, set(paths["/api/v1/scrub"]))
        self.assertIn("502", paths["/api/v1/hold"]["post"]["responses"])
