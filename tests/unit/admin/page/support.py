"""The status page on a site in memory, with answers of the test in place of a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.admin.answers import (
    DaemonStatus,
    ErrorList,
    SweepStatus,
    TagState,
    Top,
    UpstreamPage,
)
from oci_registry.admin.api import ApiLimits, ApiParts
from oci_registry.admin.fields import Values
from oci_registry.admin.figures_answers import (
    Activity,
    ActivityCounts,
    ActivityPoint,
    Disk,
    TopImages,
)
from oci_registry.admin.gate import Gate, LocalGate
from oci_registry.admin.page.making import make_status_pages
from oci_registry.admin.page.resource import PAGES
from oci_registry.admin.routes import PREFIX, Route, RouteTable
from oci_registry.admin.site import AdminSite
from oci_registry.management.answers import (
    ImageDetails,
    ImagePage,
    PinChange,
    Refreshed,
    Removal,
    ShownManifest,
    StoredImage,
    Why,
)
from oci_registry.metrics import Metrics
from oci_registry.repeats import RepeatLog
from oci_registry.streams.steps import Pause, no_pause
from oci_registry.web.client_watch import ClientWatch
from tests.support.html import Element, faults, read_html
from tests.support.routes import all_routes
from tests.unit.web.support import Answer, WebTestCase

DIGEST = "sha256:" + "0" * 64
NONE = ActivityCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
STATUS = DaemonStatus("1.0", 0.0, 0.0, True, None, None, "/store", 3, 1000, None, None, 2, 1)
IMAGE = StoredImage(
    "docker.io/library/app:1", "docker.io", "library/app", "1", DIGEST, None, ("linux/amd64",),
    5_000_000, 1_000_000, 3, 3, True, 0.0, 0.0, 7, False,
)  # fmt: skip
MANIFEST = ShownManifest(DIGEST, "application/x", None, True, 500, None, (), ())
WHY = Why(
    IMAGE.name, DIGEST, IMAGE, None, None, False, (), None, None, None, None, True, ("It is.",), None
)  # fmt: skip
DISK = Disk(0.0, 700, 1000, 950, 50, 5000, 4000, None, None)


def activity(period: str = "hour", counts: ActivityCounts = NONE) -> Activity:
    """Return an activity with two points."""
    points = (ActivityPoint(0.0, 60, NONE), ActivityPoint(60.0, 60, counts))
    return Activity(period, 120.0, 0.0, None, counts, points)


class PageTestCase(WebTestCase):
    """The page; `answers` has what the API says, by method and path: an answer, an error, or a Deferred.

    `asked` has what it was asked.
    """

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/status"): STATUS,
            ("GET", "/top"): Top(0.0, 0, 0.0, ()),
            ("GET", "/upstreams"): UpstreamPage((), None),
            ("GET", "/errors"): ErrorList(()),
            ("GET", "/activity"): activity(),
            ("GET", "/disk"): DISK,
            ("GET", "/images/top"): TopImages("size", 0.0, (), True),
            ("GET", "/images"): ImagePage((IMAGE,), None, True),
            ("GET", "/image"): ImageDetails(IMAGE, MANIFEST, (), ()),
            ("GET", "/why"): WHY,
            ("GET", "/history"): TagState(DIGEST, None, None, ()),
            ("POST", "/refresh"): Refreshed(IMAGE.name, DIGEST),
            ("POST", "/pins"): PinChange(IMAGE.name, True, True),
            ("DELETE", "/pins"): PinChange(IMAGE.name, False, True),
            ("DELETE", "/image"): Removal((IMAGE.name,), (), (), 0, ()),
            ("POST", "/sweep"): SweepStatus(1.0, True, 0.0, None, None),
            **{
                ("POST", f"/{name}"): TagState(DIGEST, None, None, ())
                for name in ("hold", "rollback", "release", "adopt")
            },
        }
        self.serve_page()

    def serve_page(self, gate: Gate | None = None, pause: Pause | None = None) -> None:
        """Serve the page behind a gate."""
        self.metrics = Metrics()
        parts = ApiParts(ClientWatch(self.clock), self.clock, self.metrics, ApiLimits())
        routes = RouteTable(
            self._faked(each) for each in all_routes().all if isinstance(each, Route)
        )
        page = make_status_pages(routes, parts, pause or no_pause)(gate or LocalGate())[PAGES]
        self.site = AdminSite(page, self.clock, self.log, RepeatLog(Logger(), self.clock))

    def _faked(self, route: Route) -> Route:
        key = route.method, route.path

        async def handle(values: Values) -> Any:
            self.asked.append((*key, values))
            answer = self.answers[key]
            if isinstance(answer, Deferred):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert route.path.startswith("/")
        assert PREFIX
        return evolve(route, handle=handle)

    def get(self, path: str = "/", **headers: str) -> Element:
        """Return a page, in which nothing is wrong."""
        answer = self.ask(path, **headers).answer()
        self.assertEqual(200, answer.status, answer.body)
        return self.checked(answer)

    def checked(self, answer: Answer) -> Element:
        """Return a page, whatever its status, in which nothing is wrong."""
        self.assertEqual("text/html; charset=utf-8", answer.headers["content-type"])
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        document = read_html(answer.body)
        self.assertEqual([], faults(document))
        return document

    def part(self, name: str, path: str = "/") -> Element:
        """Return a part of the page."""
        return self.get(path).with_id(name)

    def post(self, body: str = "", /, media_type: str = "", **fields: str) -> Answer:
        """Send a form as a browser does."""
        return self.send_form(
            (body or urlencode(fields)).encode(),
            {
                "Origin": "http://mirror",
                "Content-Type": media_type or "application/x-www-form-urlencoded",
            },
        )

    def send_form(self, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Answer:
        """Send a form with these headers."""
        lines = [f"{method} /page/act HTTP/1.1", "Host: mirror", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection = self.connect()
        connection.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return connection.answer()
