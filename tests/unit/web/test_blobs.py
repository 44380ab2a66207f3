"""GET and HEAD of blobs, cold and warm, whole and in ranges."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from oci_registry.pullthrough.far import FarLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.reference import content_key
from tests.support.streams import LIMITS
from tests.unit.web.handlers import HandlerTestCase

DATA = bytes(range(256)) * 1200


class Blobs(HandlerTestCase):
    """One blob upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)
        self.path = f"blobs/{self.digest}"

    def told(self, method: str, length: int, status: int = 200, **headers: str) -> bytes:
        """Ask, check everything that is told of the blob, and return the body."""
        answer = self.get(self.path, method, **headers)
        self.assertEqual(status, answer.status)
        expected = {
            "content-type": "application/octet-stream",
            "content-length": str(length),
            "docker-content-digest": str(self.digest),
            "accept-ranges": "bytes",
            "oci-namespace": "docker.io",
            "etag": f'"{self.digest}"',
        }
        self.assertEqual(expected, {name: answer.headers.get(name) for name in expected})
        return answer.body

    def test_cold_and_warm(self) -> None:
        """A blob comes from upstream once, and looks the same every time."""
        for _ in range(3):
            self.assertTrue(self.told("GET", len(DATA)) == DATA)
            self.assertEqual(b"", self.told("HEAD", len(DATA)))
        self.assertEqual([f"GET library/app {self.digest}"], self.upstream.asked)
        sent = self.counted("oci_registry_client_bytes_total", route="blob")
        self.assertEqual(3 * len(DATA), sent)

    def test_head_of_a_cold_blob(self) -> None:
        """HEAD costs upstream a HEAD, and nothing is stored."""
        self.told("HEAD", len(DATA))
        self.assertEqual([f"HEAD library/app {self.digest}"], self.upstream.asked)
        self.assertEqual(set(), self.stored())

    def test_ranges(self) -> None:
        """A range is a 206 with its place, from upstream and from the store."""
        for value, start, stop in (
            ("bytes=100-", 100, len(DATA)),
            ("bytes=0-0", 0, 1),
            (f"bytes=10-{len(DATA)}", 10, len(DATA)),
            ("bytes=-5", len(DATA) - 5, len(DATA)),
        ):
            body = self.told("GET", stop - start, 206, Range=value)
            self.assertTrue(body == DATA[start:stop], value)
        place = self.get(self.path, Range="bytes=1-2").headers["content-range"]
        self.assertEqual(f"bytes 1-2/{len(DATA)}", place)

    def test_range_beyond_the_end(self) -> None:
        """A range of nothing is a 416 that tells the size and nothing of the content."""
        for _ in range(2):
            answer = self.get(self.path, Range=f"bytes={len(DATA)}-")
            self.assertEqual((416, "RANGE_INVALID"), (answer.status, answer.code))
            self.assertEqual(f"bytes */{len(DATA)}", answer.headers["content-range"])
            self.assertNotIn("docker-content-digest", answer.headers)
        self.assertTrue(self.told("GET", len(DATA)) == DATA)

    def test_ranges_that_are_ignored(self) -> None:
        """What is malformed, or asks for several ranges, gets the whole."""
        for value in ("bytes=5-1", "lines=1-2", "bytes=0-1,4-5", "bytes"):
            self.assertTrue(self.told("GET", len(DATA), Range=value) == DATA, value)

    def test_if_range(self) -> None:
        """A range that depends on another version gets the whole."""
        etag = f'"{self.digest}"'
        self.told("GET", 1, 206, Range="bytes=0-0", If_Range=etag)
        self.told("GET", len(DATA), 200, Range="bytes=0-0", If_Range='"other"')
        self.told(
            "GET", len(DATA), 200, Range="bytes=0-0", If_Range="Tue, 01 Jan 2030 00:00:00 GMT"
        )

    def test_range_far_ahead(self) -> None:
        """A range that lies far ahead of the download looks like any other, and comes beside it."""
        self.limit(far=FarLimits(distance=1000))
        self.serve_all()
        body = self.told("GET", 5000, 206, Range="bytes=200000-204999")
        self.assertTrue(body == DATA[200_000:205_000])
        whole, part = self.upstream.asked
        self.assertEqual(f"{whole} 200000-205000", part)
        self.assertTrue(self.told("GET", 5000, 206, Range="bytes=200000-204999") == body)
        self.assertEqual(2, len(self.upstream.asked))

    def test_range_that_is_not_wanted(self) -> None:
        """Nothing is fetched beside the download for a client that gets the whole, or nothing."""
        self.limit(far=FarLimits(distance=1000))
        self.serve_all()
        how = {"Range": "bytes=200000-204999"}
        self.told("GET", len(DATA), 200, If_Range='"other"', **how)
        self.assertEqual(1, len(self.upstream.asked))

    def test_not_modified(self) -> None:
        """A client that has the blob already is not sent it again, and nothing stays open."""
        etag = f'"{self.digest}"'
        for method in ("GET", "HEAD"):
            for value in (etag, f'"other", W/{etag}'):
                answer = self.get(self.path, method, If_None_Match=value, Range="bytes=0-1")
                self.assertEqual((304, b""), (answer.status, answer.body))
                self.assertEqual(etag, answer.headers["etag"])
        self.assertEqual([], self.upstream.asked)

    def test_not_modified_if_it_exists(self) -> None:
        """A client that asks whether there is any such blob is told so once that is known."""
        for method in ("HEAD", "GET", "GET", "HEAD"):
            answer = self.get(self.path, method, If_None_Match="*")
            self.assertEqual((304, b""), (answer.status, answer.body))
            self.assertFalse(self.blob_store.in_use(self.digest))
        self.assertEqual(2, len(self.upstream.asked))
        for method in ("HEAD", "GET"):
            missing = f"blobs/{Digest.of(b'none')}"
            self.assertEqual(404, self.get(missing, method, If_None_Match="*").status)

    def test_nothing_stays_open(self) -> None:
        """However a request ends, the blob is given back."""
        self.get(self.path)
        for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=9999999-"}):
            self.get(self.path, **headers)
            self.assertFalse(self.blob_store.in_use(self.digest))

    def test_unknown(self) -> None:
        """A blob that upstream does not have is a 404."""
        path = "blobs/sha256:" + "0" * 64
        for method in ("GET", "HEAD"):
            self.assertEqual(404, self.get(path, method).status)
        self.assertEqual("BLOB_UNKNOWN", self.get(path).code)

    def test_unknown_length(self) -> None:
        """A blob of unknown length is sent in chunks, with or without ranges."""
        self.upstream.says_size = False
        connection = self.ask(f"/v2/library/app/{self.path}", Range="bytes=5-")
        self.finish()
        self.assertIn(b"HTTP/1.1 200 OK", connection.got)
        self.assertIn(b"Transfer-Encoding: chunked", connection.got)
        self.assertTrue(connection.got.endswith(b"\r\n0\r\n\r\n"))
        self.assertTrue(self.told("GET", len(DATA)) == DATA)

    def test_headers_in_time(self) -> None:
        """Where only a manifest tells the length, the headers leave 5 s after upstream's, not later."""
        self.upstream.says_size = False
        self.sizes._hints.put(content_key("docker.io", "library/app", self.digest), len(DATA))
        for asked in ({}, {"Range": "bytes=5-"}):
            connection = self.ask(f"/v2/library/app/{self.path}", **asked)
            self.clock.advance(4.9)
            self.assertEqual(b"", connection.got)
            self.clock.advance(0.1)
            self.clock.advance(0)
            self.assertIn(b"Content-Length: ", connection.got)
        self.finish()

    def test_hint(self) -> None:
        """A response whose length was a wrong hint is closed short; the next one is right."""
        for hint in (len(DATA) - 1, len(DATA) + 1, 2 * len(DATA)):
            self.setUp()
            self.upstream.says_size = False
            self.sizes._hints.put(content_key("docker.io", "library/app", self.digest), hint)
            connection = self.ask(f"/v2/library/app/{self.path}")
            self.upstream.bodies[0].send(DATA[:-1])
            self.clock.advance(1)
            self.upstream.bodies[0].send(DATA[-1:])
            self.upstream.bodies[0].end()
            head, _, body = connection.got.partition(b"\r\n\r\n")
            self.assertIn(b"Content-Length: %d" % hint, head)
            self.assertLess(len(body), hint)
            self.assertTrue(DATA.startswith(body))
            self.assertTrue(connection.transport.disconnecting)
            self.assertFalse(connection.transport.aborted)
            self.assertTrue(self.told("GET", len(DATA)) == DATA)
            self.assertEqual(1, len(self.upstream.bodies))

    def test_end_far_ahead(self) -> None:
        """The end of a blob that is not there yet comes beside the download."""
        self.far_limits = FarLimits(distance=1000)
        for value in ("bytes=-100", f"bytes={len(DATA) - 100}-"):
            self.setUp()
            connection = self.ask(f"/v2/library/app/{self.path}", Range=value)
            part = self.upstream.bodies[1]
            part.send(part.data)
            part.end()
            answer = connection.answer()
            self.assertEqual((206, DATA[-100:]), (answer.status, answer.body))
            place = f"bytes {len(DATA) - 100}-{len(DATA) - 1}/{len(DATA)}"
            self.assertEqual(place, answer.headers["content-range"])

    def test_several_ranges_far_ahead(self) -> None:
        """A request for several ranges gets the whole as it arrives, without waiting for the last of them."""
        self.limit(far=FarLimits(distance=1000))
        self.serve_all()
        connection = self.ask(f"/v2/library/app/{self.path}", Range="bytes=0-99,-100")
        self.upstream.bodies[0].send(DATA[: 2 * LIMITS.tail])
        self.clock.advance(1)
        head, _, body = connection.got.partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertGreater(len(body), 0)
        self.assertEqual(1, len(self.upstream.asked))

    def test_head_of_unknown_length(self) -> None:
        """A HEAD without a length would break clients: it is an error instead."""
        self.upstream.says_size = False
        self.assertEqual(502, self.get(self.path, "HEAD").status)

    def test_namespace(self) -> None:
        """The client is told the namespace as it wrote it, or the one that was meant, by errors too."""
        self.get(self.path)
        none = Digest.of(b"none")
        for tail, status in (
            (self.path, 200),
            *((tail, 404) for tail in (f"blobs/{none}", "manifests/none", f"manifests/{none}")),
        ):
            for path, expected in (
                (f"/v2/a/b/{tail}?ns=quay.io", "quay.io"),
                (f"/v2/quay.io/a/b/{tail}", "quay.io"),
                (f"/v2/a/b/{tail}?ns=registry-1.docker.io", "registry-1.docker.io"),
                (f"/v2/a/b/{tail}", "docker.io"),
            ):
                answer = self.ask(path).answer()
                told = (answer.status, answer.headers["oci-namespace"])
                self.assertEqual((status, expected), told, path)

    def test_no_namespace(self) -> None:
        """A registry that is not mirrored is not said to be the one that answers."""
        self.assertNotIn("oci-namespace", self.ask("/v2/UPPER/blobs/x").answer().headers)

    def test_wrong_bytes(self) -> None:
        """A blob whose bytes are wrong is closed short, in order, without its tail."""
        wrong = DATA[:-1] + b"!"
        self.upstream.blobs[str(self.digest)] = wrong
        connection = self.ask(f"/v2/library/app/{self.path}")
        self.finish()
        _, _, body = connection.got.partition(b"\r\n\r\n")
        self.assertLessEqual(len(body), len(DATA) - LIMITS.tail)
        self.assertTrue(connection.got.startswith(b"HTTP/1.1 200"))
        self.assertTrue(connection.transport.disconnecting)
        self.assertFalse(connection.transport.aborted)
        self.assertEqual(set(), self.stored())

    def test_upstream_that_breaks_before_the_first_byte(self) -> None:
        """What goes wrong before the first byte is a clean error."""
        connection = self.ask(f"/v2/library/app/{self.path}")
        self.assertEqual(b"", connection.got)
        self.upstream.bodies[0].end(BadGateway("it broke"))
        answer = connection.answer()
        self.assertEqual((502, "UNAVAILABLE"), (answer.status, answer.code))
        self.assertNotIn("accept-ranges", answer.headers)

    def test_client_that_leaves(self) -> None:
        """A client that leaves stops nothing: the next one finds the blob."""
        connection = self.ask(f"/v2/library/app/{self.path}")
        body = self.upstream.bodies[0]
        body.send(DATA[:100_000])
        connection.leave()
        self.assertFalse(body.stopped)
        body.send(DATA[100_000:])
        body.end()
        self.assertTrue(self.told("GET", len(DATA)) == DATA)
        self.assertEqual(1, len(self.upstream.bodies))


class Redirected(HandlerTestCase):
    """A store that clients can reach themselves."""

    url = "https://bucket.example.com/blobs/x?X-Amz-Signature=abc"

    def serve_blob(self, *, ranges: bool) -> None:
        """Serve one blob that is stored, and send clients to it."""
        self.digest = self.upstream.add_blob(DATA)
        self.path = f"blobs/{self.digest}"
        self.links: list[str] = []
        self.assertEqual(200, self.get(self.path).status)

        def link(key: str) -> Deferred[str | None]:
            self.links.append(key)
            return succeed(self.url)

        self.patch(self.driver, "link", link)
        self.serve_all(redirect=True, redirect_ranges=ranges)

    def test_whole(self) -> None:
        """A client that asks for a whole blob is sent there; the answer is not to be kept."""
        self.serve_blob(ranges=False)
        answer = self.get(self.path)
        self.assertEqual((307, b""), (answer.status, answer.body))
        self.assertEqual(self.url, answer.headers["location"])
        self.assertEqual(str(self.digest), answer.headers["docker-content-digest"])
        self.assertEqual(
            ("no-store", "0"), (answer.headers["cache-control"], answer.headers["content-length"])
        )
        self.assertEqual(1, self.counted("blob_cache_hits", namespace="docker.io"))

    def test_not_sent(self) -> None:
        """A HEAD is answered here, and so is a range unless those are to be sent there too."""
        self.serve_blob(ranges=False)
        self.assertEqual(200, self.get(self.path, "HEAD").status)
        self.assertEqual(DATA[5:10], self.get(self.path, Range="bytes=5-9").body)
        self.assertEqual([], self.links)

    def test_ranges(self) -> None:
        """Ranges are sent there when that is wished."""
        self.serve_blob(ranges=True)
        self.assertEqual(307, self.get(self.path, Range="bytes=5-9").status)

    def test_cold(self) -> None:
        """What is not stored is served from here."""
        self.serve_blob(ranges=False)
        other = self.upstream.add_blob(b"other")
        self.assertEqual(b"other", self.get(f"blobs/{other}").body)

    def test_store_fails(self) -> None:
        """A store that cannot tell is not a reason to fail."""
        self.serve_blob(ranges=False)
        self.driver.broken = "down"
        self.assertEqual(DATA, self.get(self.path).body)

    def test_off(self) -> None:
        """Nobody is sent anywhere who did not ask for it."""
        self.serve_blob(ranges=True)
        self.serve_all()
        self.assertEqual(DATA, self.get(self.path).body)
        self.assertEqual([], self.links)
