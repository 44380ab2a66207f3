"""GET and HEAD of manifests, by tag and by digest."""

from __future__ import annotations

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, TooManyRequests
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.streams.send import CHUNK
from tests.unit.web.handlers import HandlerTestCase

RAW = b'{"schemaVersion": 2,\n "mediaType": "%b", "config": {}, "layers": [ ] }\n' % (
    OCI_MANIFEST.encode()
)


class Manifests(HandlerTestCase):
    """One manifest upstream, with the tag 1."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest = self.upstream.add(RAW, "1")
        self.digest = self.manifest.digest

    def test_cold_and_warm(self) -> None:
        """A manifest looks the same by tag and by digest, on HEAD and GET, asked once."""
        expected = {
            "content-type": OCI_MANIFEST,
            "content-length": str(len(RAW)),
            "docker-content-digest": str(self.digest),
            "etag": f'"{self.digest}"',
            "oci-namespace": "docker.io",
        }
        for reference in ("1", str(self.digest), "1"):
            for method, body in (("HEAD", b""), ("GET", RAW)):
                answer = self.get(f"manifests/{reference}", method, Accept="text/plain")
                self.assertEqual((200, body), (answer.status, answer.body))
                self.assertEqual(expected, {name: answer.headers.get(name) for name in expected})
                self.assertNotIn("warning", answer.headers)
        self.assertEqual(["GET library/app 1"], self.upstream.asked)

    def test_large(self) -> None:
        """A large manifest looks like any other; a client that does not take it holds it up alone."""
        raw = RAW + b" " * (4 * CHUNK)
        large = self.upstream.add(raw, "large")
        for reference in ("large", str(large.digest)):
            for method, body in (("HEAD", b""), ("GET", raw)):
                answer = self.get(f"manifests/{reference}", method)
                self.assertEqual((200, body), (answer.status, answer.body))
                self.assertEqual(str(len(raw)), answer.headers["content-length"])
                self.assertEqual(str(large.digest), answer.headers["docker-content-digest"])
        answer = self.get("manifests/large", If_None_Match=f'"{large.digest}"')
        self.assertEqual((304, b""), (answer.status, answer.body))

    def test_not_modified(self) -> None:
        """A client that has the manifest already is not sent it again."""
        answer = self.get("manifests/1", If_None_Match=f'"{self.digest}"')
        self.assertEqual((304, b""), (answer.status, answer.body))
        answer = self.get("manifests/1", If_None_Match='"other"')
        self.assertEqual((200, RAW), (answer.status, answer.body))

    def test_unknown(self) -> None:
        """A tag that upstream does not have is a 404."""
        answer = self.get("manifests/2")
        self.assertEqual((404, "MANIFEST_UNKNOWN"), (answer.status, answer.code))
        self.assertNotIn("docker-content-digest", answer.headers)

    def test_stale(self) -> None:
        """A tag that cannot be confirmed says so, and for how long, beside all that a tag says."""
        usual = self.get("manifests/1").headers
        self.upstream.error = BadGateway("down")
        for seconds, shown in ((3600.0, "1h"), (90 * 60.0, "2h 30m"), (59.0, "2h 30m")):
            self.clock.advance(seconds)
            age = int(self.clock.seconds() - 1_700_000_000)
            expected = {
                **usual,
                "age": str(age),
                "cache-status": f"oci-registry; hit; ttl={3600 - age}; detail=stale-if-error",
                "warning": f'299 - "docker.io is unavailable; this tag was confirmed {shown} ago"',
            }
            for method, body in (("HEAD", b""), ("GET", RAW)):
                answer = self.get("manifests/1", method)
                self.assertEqual((200, body), (answer.status, answer.body))
                self.assertEqual(expected, {**answer.headers, "date": usual.get("date")})

    def test_stale_by_digest(self) -> None:
        """What a stale tag leads to by digest is as good as ever if it is stored."""
        child = self.upstream.add(RAW + b"\n")
        self.get("manifests/1")
        self.get(f"manifests/{child.digest}")
        self.clock.advance(3600)
        self.upstream.error = BadGateway("down")
        for digest in (self.digest, child.digest):
            answer = self.get(f"manifests/{digest}")
            self.assertEqual(200, answer.status)
            self.assertFalse({"age", "warning"} & set(answer.headers))
        self.assertEqual(502, self.get(f"manifests/{Digest.of(b'x')}").status)

    def test_stale_and_not_modified(self) -> None:
        """A client that has the stale manifest already is told of it, too."""
        self.get("manifests/1")
        self.clock.advance(3600)
        self.upstream.error = BadGateway("down")
        answer = self.get("manifests/1", If_None_Match=f'"{self.digest}"')
        self.assertEqual((304, "3600"), (answer.status, answer.headers["age"]))
        self.assertIn("warning", answer.headers)

    def test_not_known_any_more(self) -> None:
        """A tag that is kept though upstream has lost it says that."""
        self.get("manifests/1")
        self.clock.advance(3600)
        self.upstream.change(trust_not_found=False)
        del self.upstream.manifests["1"]
        self.assertEqual(
            '299 - "docker.io no longer has it; this tag was confirmed 1h ago"',
            self.get("manifests/1").headers["warning"],
        )

    def test_asked_in_the_background(self) -> None:
        """A tag that is served while upstream is asked tells its age, and warns of nothing."""
        self.get("manifests/1")
        self.clock.advance(3600)
        self.upstream.change(stale_while_revalidate=60.0)
        self.upstream.holding = True
        for method in ("HEAD", "GET"):
            answer = self.get("manifests/1", method)
            self.assertEqual((200, "3600"), (answer.status, answer.headers["age"]))
            self.assertNotIn("warning", answer.headers)
        self.upstream.release()
        self.assertNotIn("age", self.get("manifests/1").headers)

    def test_limited(self) -> None:
        """An upstream's limit is passed on in the form that lets clients go elsewhere."""
        self.upstream.error = TooManyRequests.retry_after("slow down", 30)
        answer = self.get("manifests/1")
        self.assertEqual((503, "TOOMANYREQUESTS"), (answer.status, answer.code))
        self.assertEqual("30", answer.headers["retry-after"])

    def test_client_that_leaves(self) -> None:
        """A client that leaves stops nothing: what it asked for is kept."""
        self.upstream.holding = True
        self.ask("/v2/library/app/manifests/1").leave()
        self.upstream.release()
        self.assertEqual(RAW, self.get("manifests/1").body)
        self.assertEqual(["GET library/app 1"], self.upstream.asked)
