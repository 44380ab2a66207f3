"""What those ask who watch the daemon."""

from __future__ import annotations

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.root import Ready, Root
from oci_registry.web.v2 import V2
from tests.unit.web.support import WebTestCase, docker_hub, works


class Apart(WebTestCase):
    """Metrics that clients do not get."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.ready = Ready(works)

    def statuses(self) -> dict[str, int]:
        paths = ("/", "/healthz", "/health", "/readyz", "/metrics", "/v2/", "/v2/a/tags/list")
        return {path: self.ask(path).answer().status for path in paths}

    def test_for_those_who_watch(self) -> None:
        """They get the metrics, and no registry."""
        self.serve(Root(self.ready, metrics=self.metrics))
        found = {"/": 200, "/healthz": 200, "/health": 200, "/readyz": 200, "/metrics": 200}
        self.assertEqual({**found, "/v2/": 404, "/v2/a/tags/list": 404}, self.statuses())
        self.assertNotIn(b"/v2/", self.ask("/v2/").answer().body)

    def test_for_clients(self) -> None:
        """They get the registry, and may ask whether the daemon is alive and ready."""
        self.serve(
            Root(
                self.ready,
                v2=V2({}, docker_hub(), ClientWatch(self.clock), self.clock, self.metrics),
            )
        )
        found = {"/": 200, "/healthz": 200, "/health": 200, "/readyz": 200, "/v2/": 200}
        statuses = self.statuses()
        self.assertEqual(500, statuses.pop("/v2/a/tags/list"))
        self.assertEqual({**found, "/metrics": 404}, statuses)
        self.assertEqual(1, len(self.flushLoggedErrors()))


class Tree(WebTestCase):
    """The paths beside /v2."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.checks = 0
        self.state = StoreState()
        v2 = V2({}, docker_hub(), ClientWatch(self.clock), self.clock, self.metrics)
        self.serve(Root(Ready(self.check), metrics=self.metrics, v2=v2))

    async def check(self) -> StoreState:
        self.checks += 1
        return self.state

    def test_alive(self) -> None:
        """The daemon says that it is alive, whatever the store does."""
        for path in ("/", "/healthz", "/health", "/healthz?x=y"):
            for method, body in (("GET", b"oci-registry\n"), ("HEAD", b"")):
                answer = self.ask(path, method).answer(method)
                self.assertEqual((200, body), (answer.status, answer.body), path)
                self.assertEqual("13", answer.headers["content-length"])
                self.assertEqual("text/plain", answer.headers["content-type"])
        self.assertEqual(0, self.checks)

    def test_metrics(self) -> None:
        """The metrics are served in the form that Prometheus reads."""
        self.metrics.hit("blob", "docker.io")
        answer = self.ask("/metrics").answer()
        self.assertIn(b'blob_cache_hits{namespace="docker.io"} 1', answer.body)
        self.assertIn("version=", answer.headers["content-type"])
        self.assertEqual(200, self.ask("/metrics", "HEAD").answer("HEAD").status)

    def test_registry(self) -> None:
        """The registry is below /v2, with and without a slash."""
        for path in ("/v2", "/v2/", "//v2/", "/v2//", "/quay.io/v2/", "//quay.io//v2//", "/hub/v2"):
            self.assertEqual(b"{}", self.ask(path).answer().body)

    def test_nothing_here(self) -> None:
        """Everything else is a 404 in the form that registry clients read."""
        for path in (
            "/v1/",
            "/v2x",
            "/a/b/v2/",
            "/healthz/v2/",
            "/healthz/",
            "/metrics/x",
            "/..",
            "/%00",
        ):
            answer = self.ask(path).answer()
            self.assertEqual((404, "NAME_UNKNOWN"), (answer.status, answer.code), path)

    def test_odd_targets(self) -> None:
        """Targets that are no path of ours get a clear answer."""
        for method, target, status in (
            ("CONNECT", "mirror:443", 405),
            ("OPTIONS", "*", 200),
            ("GET", "*", 405),
            ("GET", "v2", 400),
            ("GET", "xhealthz", 400),
            ("GET", "ftp://mirror/v2/", 400),
            ("GET", "http:///v2/", 400),
        ):
            self.assertEqual(status, self.ask(target, method).answer().status, target)

    def test_absolute_targets(self) -> None:
        """A target in absolute form means its path here, whatever authority it names."""
        for start in ("http://mirror:8080", "HTTPS://elsewhere.example", "http://u:p@[::1]:80"):
            for path, body in (("/v2/", b"{}"), ("/healthz", b"oci-registry\n"), ("", None)):
                answer = self.ask(start + path).answer()
                self.assertEqual((200, body or answer.body), (answer.status, answer.body))
            answer = self.ask(f"{start}/elsewhere").answer()
            self.assertEqual((404, "NAME_UNKNOWN"), (answer.status, answer.code))

    def test_methods(self) -> None:
        """There is nothing to write here."""
        for path in ("/", "/healthz", "/readyz", "/metrics", "/elsewhere"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                answer = self.ask(path, method).answer()
                self.assertEqual((405, "UNSUPPORTED"), (answer.status, answer.code))
                self.assertEqual("GET, HEAD", answer.headers["allow"])
        self.assertEqual(0, self.checks)

    def test_store_gauges(self) -> None:
        """The store is checked before its gauges are told."""
        self.ask("/metrics").answer()
        self.assertEqual(1, self.checks)

    def ready(self, method: str = "GET") -> tuple[int, bytes]:
        answer = self.ask("/readyz", method).answer(method)
        return answer.status, answer.body

    def test_ready(self) -> None:
        """The daemon is ready when its store works."""
        self.assertEqual((200, b"ready\n"), self.ready())
        self.assertEqual((200, b""), self.ready("HEAD"))

    def test_nothing_can_be_written(self) -> None:
        """It is ready as well while the store can only be read, and says what is wrong, without paths."""
        for reason in ("No space left on device", "No space left on device: /srv/cache/x"):
            self.state = StoreState(unwritable=reason)
            said = b"ready, but nothing new is stored: No space left on device\n"
            self.assertEqual((200, said), self.ready())

    def test_not_ready(self) -> None:
        """A store that cannot be read is a 503 that says why, in one line and without paths."""
        self.state = StoreState("broken:\r\n\x1b /srv/cache is gone", "broken")
        answer = self.ask("/readyz").answer()
        self.assertEqual((503, "text/plain"), (answer.status, answer.headers["content-type"]))
        self.assertEqual(b"not ready: broken:    ... is gone\n", answer.body)
