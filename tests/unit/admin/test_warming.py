"""Warming by the admin API."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.admin.problems import InvalidName, InvalidRequest, NotFound, NotPossible
from oci_registry.admin.warming import MOST_PROBLEMS, WarmHandlers, warm_routes
from oci_registry.events import EventLog
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.upstream.interfaces import BUSY, FREE, Capacity, Spare
from tests.unit.admin.support import ApiTestCase
from tests.unit.pullthrough.warm_case import WarmTestCase

APP = "example.com/library/app"


class Handlers(WarmTestCase):
    """WarmHandlers with a warmer and an upstream in memory."""

    def restart(self) -> None:
        super().restart()
        self.events = EventLog(self.clock)
        self.handlers = WarmHandlers(self.warmer, parse_image, self.events)

    def post(self, *images: str, platforms: tuple[str, ...] = (), jobs: int = 4) -> Any:
        values = {"images": images, "platforms": platforms, "jobs": jobs}
        return self.now(self.handlers.start(values))

    def look(self, run: int | None = None) -> Any:
        return self.now(self.handlers.status({"run": run}))

    def refusal(self, *images: str, platforms: tuple[str, ...] = ()) -> Any:
        """Return why images are refused."""
        values = {"images": images, "platforms": platforms, "jobs": 4}
        return self.error(self.handlers.start(values))

    def error(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.failureResultOf(Deferred.fromCoroutine(work)).value

    def told(self) -> list[dict[str, Any]]:
        return [dict(event.fields) for event in self.events.since(0) if event.kind == "warm"]

    def test_nothing(self) -> None:
        """Before the first warming there is none, which can be cancelled."""
        self.assertEqual(
            (None, "none", 0), (self.look().run, self.look().state, self.look().images)
        )
        self.assertEqual("none", self.now(self.handlers.cancel({"run": None})).state)
        page = {"run": None, "limit": 1, "after": None}
        for work in (self.handlers.status({"run": 1}), self.handlers.images(page)):
            self.assertIsInstance(self.error(work), NotFound)

    def test_whole(self) -> None:
        """It is running at once, and in the end all is counted; begin, failures and end are events."""
        image = self.image("1", b"one", b"two")
        begun = self.post(f"{APP}:1", f"{APP}:gone", platforms=("linux/ARM64",), jobs=2)
        self.assertEqual(
            (1, "running", 2, 2), (begun.run, begun.state, begun.images, begun.waiting)
        )
        self.assertEqual((("linux/arm64",), 2, None), (begun.platforms, begun.jobs, begun.ended))
        self.go(seconds=1)
        ended = self.look()
        self.assertEqual(("ended", 1, 1, 0), (ended.state, ended.done, ended.failed, ended.running))
        self.assertEqual(4, ended.fetched)
        size = sum(blob.size or 0 for blob in image.blobs)
        self.assertEqual((size, size, 0), (ended.bytes, ended.bytes_stored, ended.bytes_received))
        (problem,) = ended.problems
        self.assertEqual(f"{APP}:gone", problem.image)
        self.assertIn("does not have gone", problem.reason)
        begin, failure, end = self.told()
        self.assertEqual({"phase": "begun", "run": 1, "images": 2}, begin)
        self.assertEqual(("failed", f"{APP}:gone"), (failure["phase"], failure["name"]))
        self.assertEqual(
            ("ended", 1, 1, size), tuple(end[n] for n in ("phase", "done", "failed", "size"))
        )

    def test_images(self) -> None:
        """The images come in pages, in the order in which they were given, each once."""
        image = self.image("1", b"one")
        self.post(f"{APP}:1", f"{APP}:2", f"{APP}:1", f"{APP}")
        self.go()
        pages, after = [], None
        while True:
            page = self.now(self.handlers.images({"run": 1, "limit": 2, "after": after}))
            pages.append(page)
            after = page.next
            if after is None:
                break
        self.assertEqual([2, 1], [len(page.images) for page in pages])
        first, second = pages[0].images
        self.assertEqual((f"{APP}:1", "done"), (first.name, first.state))
        self.assertEqual(
            (str(image.digest), 1, 2, 3),
            (first.digest, first.manifests, first.blobs, first.fetched),
        )
        self.assertEqual((f"{APP}:2", "failed", None), (second.name, second.state, second.digest))
        self.assertEqual(f"{APP}:latest", pages[1].images[0].name)
        for wrong in ("-1", "x", "9" * 30, "\u0661"):
            error = self.error(self.handlers.images({"run": 1, "limit": 2, "after": wrong}))
            self.assertIsInstance(error, InvalidRequest)
        beyond = self.now(self.handlers.images({"run": 1, "limit": 2, "after": "77"}))
        self.assertEqual(((), None), (beyond.images, beyond.next))

    def test_digest(self) -> None:
        """As for clients, a tag beside a digest has no meaning."""
        image = self.image("1", b"one")
        self.post(f"{APP}:other@{image.digest}")
        self.go()
        (found,) = self.now(self.handlers.images({"run": 1, "limit": 9, "after": None})).images
        self.assertEqual((f"{APP}@{image.digest}", "done"), (found.name, found.state))

    def test_one_at_a_time(self) -> None:
        """While one runs another is refused; once it is cancelled, it can begin."""
        self.image("1", b"one")
        self.upstream.capacity = BUSY
        self.post(f"{APP}:1")
        self.go()
        refused = self.refusal(f"{APP}:1")
        self.assertIsInstance(refused, NotPossible)
        self.assertIn("run 1, 0 of 1 done", str(refused))
        cancelled = self.now(self.handlers.cancel({"run": None}))
        self.assertEqual(("cancelled", 1), (cancelled.state, cancelled.cancelled))
        self.upstream.capacity = FREE
        self.assertEqual(2, self.post(f"{APP}:1").run)
        self.go()
        self.assertEqual(("ended", "cancelled"), (self.look().state, self.look(1).state))
        # It has ended.
        self.assertEqual("ended", self.now(self.handlers.cancel({"run": 2})).state)
        self.assertEqual(
            ["begun", "cancelled", "begun", "ended"], [each["phase"] for each in self.told()]
        )

    def test_reserve(self) -> None:
        """What is left because of a rate limit is counted, with the reason."""
        self.image("1", b"one")
        self.upstream.capacity = Spare(Capacity.RESERVED, "10 of 100 requests are left")
        self.post(f"{APP}:1", f"{APP}:2")
        self.go()
        status = self.look()
        self.assertEqual(("reserve", 2, ()), (status.state, status.left, status.problems))
        (reserve,) = status.reserved
        self.assertEqual("example.com", reserve.registry)
        self.assertEqual("10 of 100 requests are left", reserve.reason)
        self.assertEqual([], self.upstream.asked)

    def test_refused(self) -> None:
        """What is no image, or no platform, is refused as a whole, and named."""
        refused = self.refusal("x:1", "UPPER:::")
        self.assertIsInstance(refused, InvalidName)
        self.assertIn("field images, value 2: ", str(refused))
        for platform in ("linux", "", "a/b/c/d", "linux/" + "x" * 100, "lin ux/amd64"):
            refused = self.refusal("x:1", platforms=("linux/amd64", platform))
            self.assertIsInstance(refused, InvalidRequest)
            self.assertIn("field platforms, value 2: ", str(refused))
        many = self.refusal(*(f"x:{number}" for number in range(501)))
        self.assertIn("at most 500 images", str(many))
        self.assertIsNone(self.warmer.latest)
        self.assertEqual([], self.told())

    def test_many_failures(self) -> None:
        """However many images fail, the answer and the events are bounded."""
        self.post(*(f"{APP}:{number}" for number in range(MOST_PROBLEMS + 50)))
        self.go()
        self.go()
        self.assertEqual(MOST_PROBLEMS + 50, self.look().failed)
        self.assertEqual(MOST_PROBLEMS, len(self.look().problems))
        self.assertEqual(MOST_PROBLEMS + 2, len(self.told()))

    def test_stopping(self) -> None:
        """A daemon that stops cancels what runs, and begins nothing."""
        self.upstream.capacity = BUSY
        self.post(f"{APP}:1")
        self.warmer.stop()
        self.assertEqual("cancelled", self.look().state)
        self.assertEqual("cancelled", self.post(f"{APP}:1").state)
        self.assertEqual([], self.upstream.asked)


class Routes(ApiTestCase):
    """Requests that are refused before anything is begun."""

    def test_hostile(self) -> None:
        """Lists that are too long, values of other types and documents that are too deep are refused."""
        nothing: Any = None
        self.serve_routes(warm_routes(WarmHandlers(nothing, parse_image, EventLog(self.clock))))
        digest = Digest.of(b"x")
        bodies: tuple[object, ...] = (
            {},
            [],
            {"images": []},
            {"images": "x:1"},
            {"images": [7]},
            {"images": [None]},
            {"images": [["x"]]},
            {"images": [""]},
            {"images": ["x" * 600]},
            {"images": ["x\n"]},
            {"images": ["x:1"] * 501},
            {"images": [f"../../etc@{digest}"]},
            {"images": ["x:1"], "platforms": ["a/b"] * 21},
            {"images": ["x:1"], "platforms": "linux/amd64"},
            {"images": ["x:1"], "platforms": [{}]},
            {"images": ["x:1"], "jobs": 0},
            {"images": ["x:1"], "jobs": 65},
            {"images": ["x:1"], "jobs": "4"},
            {"images": ["x:1"], "more": 1},
        )
        for body in bodies:
            answer = self.call("POST", "/api/v1/warm", body)
            self.assertEqual(400, answer.status, body)
        deep = b'{"images":' + b"[" * 30_000
        self.assertEqual(
            400, self.send("POST", "/api/v1/warm", deep, "application/json").answer("POST").status
        )
        large = json.dumps({"images": ["x" * 500] * 400}).encode()
        self.assertEqual(
            413, self.send("POST", "/api/v1/warm", large, "application/json").answer("POST").status
        )
        self.assertEqual(
            415, self.send("POST", "/api/v1/warm", b"{}", "text/plain").answer("POST").status
        )
        for query in ("run=0", "run=x", "run=9999999999", "x=1"):
            for method in ("GET", "DELETE"):
                answer = self.call(method, f"/api/v1/warm?{query}")
                self.assertEqual(400, answer.status, (method, query))
        for query in ("limit=0", "limit=501", "after="):
            self.assertEqual(400, self.call("GET", f"/api/v1/warm/images?{query}").status, query)
