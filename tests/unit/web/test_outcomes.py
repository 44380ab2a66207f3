"""What the access log is told of the cache."""

from __future__ import annotations

from oci_registry.spec.errors import BadGateway
from oci_registry.upstream.interfaces import Page
from tests.unit.web.handlers import HandlerTestCase

DATA = bytes(range(256)) * 1200
RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'


class Outcomes(HandlerTestCase):
    """One image upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest = self.upstream.add(RAW, "1")
        self.blob = f"blobs/{self.upstream.add_blob(DATA)}"

    def told(self) -> list[tuple[int, str | None, str | None]]:
        """Return status, namespace and outcome of the responses since the last time."""
        entries = [(e.status, e.namespace, e.outcome) for e in self.log.entries]
        self.log.entries.clear()
        return entries

    def outcome(self, path: str, method: str = "GET", **headers: str) -> str | None:
        """Return the outcome of a request, which is one to docker.io."""
        self.get(path, method, **headers)
        ((_, namespace, outcome),) = self.told()
        self.assertEqual("docker.io", namespace)
        return outcome

    def test_manifests(self) -> None:
        """A manifest comes from upstream, then from the store, and is stale when nobody confirms it."""
        self.assertEqual("miss", self.outcome("manifests/1", "HEAD"))
        self.assertEqual("hit", self.outcome("manifests/1"))
        self.clock.advance(3600)
        self.assertEqual("revalidated", self.outcome("manifests/1"))
        self.clock.advance(3601)
        self.upstream.error = BadGateway("down")
        self.assertEqual("stale", self.outcome("manifests/1"))
        digest = str(self.manifest.digest)
        self.assertEqual("hit", self.outcome(f"manifests/{digest}"))
        etag = f'"{digest}"'
        self.assertEqual("stale", self.outcome("manifests/1", If_None_Match=etag))

    def test_blobs(self) -> None:
        """A blob comes from upstream, whoever comes meanwhile joins it, and then it is stored."""
        self.assertEqual("miss", self.outcome(self.blob, "HEAD"))
        connections = [self.ask(f"/v2/library/app/{self.blob}") for _ in range(2)]
        self.finish()
        told = sorted(self.told(), key=str)
        self.assertEqual([(200, "docker.io", "joined"), (200, "docker.io", "miss")], told)
        for connection in connections:
            self.assertTrue(connection.answer().body == DATA)
        self.assertEqual("hit", self.outcome(self.blob))
        self.assertEqual("hit", self.outcome(self.blob, "HEAD"))
        for place in ("bytes=1-2", "bytes=9999999-"):
            self.assertEqual("hit", self.outcome(self.blob, Range=place))

    def test_blobs_before_the_headers(self) -> None:
        """A client that comes before upstream has answered joins the download, too."""
        self.upstream.holding = True
        for _ in range(2):
            self.ask(f"/v2/library/app/{self.blob}")
        self.upstream.release()
        self.finish()
        self.assertEqual({"miss", "joined"}, {outcome for _, _, outcome in self.told()})

    def test_head_of_a_blob_under_way(self) -> None:
        """The size of a blob under way is known from its download."""
        self.ask(f"/v2/library/app/{self.blob}")
        self.ask(f"/v2/library/app/{self.blob}", "HEAD")
        self.assertEqual([(200, "docker.io", "joined")], self.told())
        self.finish()

    def test_lists(self) -> None:
        """Lists are upstream's, or the stored ones when it is down."""
        self.upstream.page = Page(("1",), None)
        self.assertEqual("miss", self.outcome("tags/list"))
        self.assertEqual("miss", self.outcome(f"referrers/{self.manifest.digest}"))
        self.get("manifests/1")
        self.told()
        self.upstream.error = BadGateway("down")
        self.assertEqual("stale", self.outcome("tags/list"))

    def test_errors(self) -> None:
        """Of an error the registry is known as soon as the name is, and the cache was good for nothing."""
        self.assertIsNone(self.outcome("manifests/2"))
        self.upstream.error = BadGateway("down")
        for path in (self.blob, f"referrers/{self.manifest.digest}"):
            self.assertIsNone(self.outcome(path))
        self.assertIsNone(self.outcome(self.blob, "HEAD"))

    def test_other_registries(self) -> None:
        """It is the registry that was meant, however it was named."""
        for path in (
            "/v2/quay.io/a/b/tags/list",
            "/v2/a/b/tags/list?ns=quay.io",
            "/v2/a/b/tags/list?ns=index.docker.io",
        ):
            self.ask(path)
        namespaces = [namespace for _, namespace, _ in self.told()]
        self.assertEqual(["quay.io", "quay.io", "docker.io"], namespaces)

    def test_none(self) -> None:
        """What is about no registry names none."""
        for path in ("/v2/", "/v2/UPPER/tags/list", "/elsewhere"):
            self.ask(path)
        self.assertEqual([(None, None)] * 3, [entry[1:] for entry in self.told()])
