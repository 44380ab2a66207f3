"""Whatever upstream sends, no client holds a complete wrong blob and nothing wrong is kept."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import Asked, FakeRegistry, Reply
from tests.support.patterns import pattern
from tests.support.streams import LIMITS

SIZE = 700_000


class BlobFaults(MirrorTestCase):
    """A blob that does not arrive as it should."""

    def setUp(self) -> None:
        super().setUp()
        self.data = pattern(SIZE)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    async def refused(self, reply: Reply) -> None:
        """With *reply* no client gets the whole, nothing is kept, and the next pull is right."""
        await self.start(self.upstream("docker.io", retries=0))
        self.registry.script("/blobs/", reply)
        got = await self.client.get(self.path)
        if got.status == 200:
            self.assertFalse(got.complete)
            self.assertEqual("closed", got.ended)
            self.assertLessEqual(len(got.body), SIZE - LIMITS.tail)
        else:
            self.assertIn(got.status, (502, 504))
        await self.nothing_kept()
        self.registry.unscript()
        again = await self.client.get(self.path)
        self.assertEqual(self.data, bytes(again.body))

    async def nothing_kept(self) -> None:
        await until(lambda: not self.files())

    def wrong_at(self, offset: int) -> bytes:
        return self.data[:offset] + b"\xff" + self.data[offset + 1 :]

    @running
    async def test_first_byte_wrong(self) -> None:
        """A wrong first byte is noticed."""
        await self.refused(Reply(body=self.wrong_at(0)))

    @running
    async def test_middle_byte_wrong(self) -> None:
        """A wrong byte in the middle is noticed."""
        await self.refused(Reply(body=self.wrong_at(SIZE // 2)))

    @running
    async def test_last_byte_wrong(self) -> None:
        """A wrong last byte is noticed before it leaves."""
        await self.refused(Reply(body=self.wrong_at(SIZE - 1)))

    @running
    async def test_small_blob_wrong(self) -> None:
        """A blob shorter than the tail is held back whole: what is wrong with it is an error."""
        data = b"small"
        digest = self.registry.add_blob(data)
        await self.start()
        self.registry.script("/blobs/", Reply(body=b"smell"))
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(502, got.status)
        self.assertNotIn("docker-content-digest", got.headers)
        self.registry.unscript()
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(data, bytes(got.body))

    @running
    async def test_empty_instead_of_a_blob(self) -> None:
        """An empty answer is not taken for the blob: the client gets an error, not a success."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=b""))
        got = await self.client.get(self.path)
        self.assertEqual(502, got.status)
        await self.nothing_kept()

    @running
    async def test_empty_blob(self) -> None:
        """The empty blob is served."""
        digest = self.registry.add_blob(b"")
        await self.start()
        for _ in range(2):
            got = await self.client.get(f"/v2/library/app/blobs/{digest}")
            self.assertEqual((200, 0, True), (got.status, got.length, got.complete))
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_cut_in_order(self) -> None:
        """A body that ends early is not a blob."""
        await self.refused(Reply(body=self.data, cut=SIZE // 3))

    @running
    async def test_reset(self) -> None:
        """A connection that breaks in the middle closes the client's in order."""
        await self.refused(Reply(body=self.data, cut=SIZE // 3, reset=True))

    @running
    async def test_longer_than_announced(self) -> None:
        """Bytes beyond the announced length do not become a part of anything."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=self.data + b"more", length=SIZE, close=True))
        got = await self.client.get(self.path)
        self.assertEqual(self.data, bytes(got.body))

    @running
    async def test_short_blob_with_its_own_length(self) -> None:
        """A shorter blob that announces its own length is still the wrong blob."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=self.data[:-1]))
        got = await self.client.get(self.path)
        self.assertFalse(got.complete)
        await self.nothing_kept()

    @running
    async def test_chunked_without_length(self) -> None:
        """A body without a length is passed on without one, and kept."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=self.data, chunked=True))
        got = await self.client.get(self.path)
        self.assertEqual(
            (self.data, "chunked"), (bytes(got.body), got.headers["transfer-encoding"])
        )
        again = await self.client.get(self.path)
        self.assertEqual((self.data, SIZE), (bytes(again.body), again.length))
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_chunked_with_a_length_from_the_manifest(self) -> None:
        """When the manifest told the length, the client is told too."""
        _, blobs = self.registry.add_image("library/app", "1", self.data)
        await self.start()
        await self.client.get("/v2/library/app/manifests/1")
        self.registry.script("/blobs/", Reply(body=self.data, chunked=True))
        got = await self.client.get(f"/v2/library/app/blobs/{blobs[1]}")
        self.assertEqual((SIZE, self.data), (got.length, bytes(got.body)))

    @running
    async def test_wrong_chunked_body_is_not_ended(self) -> None:
        """A wrong body without a length never gets its last chunk."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=self.wrong_at(5), chunked=True))
        got = await self.client.get(self.path)
        self.assertFalse(got.complete)
        await self.nothing_kept()

    @running
    async def test_ended_by_closing(self) -> None:
        """A body framed by the connection's end is served if its digest is right."""
        await self.start()
        self.registry.script("/blobs/", Reply(body=self.data, length=None))
        got = await self.client.get(self.path)
        self.assertEqual((self.data, True), (bytes(got.body), got.complete))

    @running
    async def test_length_that_contradicts_the_manifest(self) -> None:
        """A blob of another length than its manifest says is refused if its digest is another one too."""
        _, blobs = self.registry.add_image("library/app", "1", self.data)
        await self.start()
        await self.client.get("/v2/library/app/manifests/1")
        self.registry.script("/blobs/", Reply(body=self.data[:1000]))
        got = await self.client.get(f"/v2/library/app/blobs/{blobs[1]}")
        self.assertEqual(502, got.status)
        self.assertIn(b"have the digest", got.body)
        self.assertEqual(set(), self.files("blobs"))

    @running
    async def test_all_followers_fail_together(self) -> None:
        """Every client of a wrong blob is closed short, and none has its tail."""
        await self.start()
        gate: Deferred[None] = Deferred()
        wrong = Reply(body=self.wrong_at(9), hold=gate, hold_at=SIZE - 10)
        self.registry.script("/blobs/", wrong)
        responses = [await self.client.begin(self.path) for _ in range(5)]
        for response in responses:
            await response.got_headers
        gate.callback(None)
        for response in responses:
            await response.done
            self.assertLessEqual(len(response.body), SIZE - LIMITS.tail)
            self.assertEqual("closed", response.ended)
        self.assertEqual(1, self.registry.count("/blobs/"))
        await self.nothing_kept()


class Redirects(MirrorTestCase):
    """Upstreams that send us elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.cdn = FakeRegistry()
        self.data = pattern(100_000)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    async def begin(self) -> None:
        self.cdn.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.cdn.stop()))
        await self.start(self.upstream("docker.io", credentials=Credentials("pat", "pass")))

    @running
    async def test_to_another_host_without_authorization(self) -> None:
        """Credentials do not follow a redirect to another host, whatever its status."""
        await self.begin()
        for status in (301, 302, 303, 307, 308):
            data = pattern(100_000 + status)
            digest = self.registry.add_blob(data)
            self.cdn.script("/there", Reply(body=data))

            def answer(asked: Asked, status: int = status) -> Reply:
                if asked.authorization is None:
                    return Reply(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
                return Reply(status, headers={"Location": f"http://{self.cdn.host}/there?sig=1"})

            self.registry.script("/blobs/", answer)
            got = await self.client.get(f"/v2/library/app/blobs/{digest}")
            self.assertEqual(data, bytes(got.body), status)
        self.assertEqual([None] * 5, [asked.authorization for asked in self.cdn.asked])

    @running
    async def test_without_end(self) -> None:
        """A redirect loop ends in an error."""
        await self.begin()
        self.registry.script("/blobs/", Reply(307, headers={"Location": self.path}))
        got = await self.client.get(self.path)
        self.assertEqual(502, got.status)
        self.assertEqual(11, self.registry.count("/blobs/"))

    @running
    async def test_to_nowhere(self) -> None:
        """A redirect to something that is not http is refused."""
        await self.begin()
        for location in ("file:///etc/passwd", "", "http://", "ftp://x/y", "http://[::1", "//"):
            self.registry.script("/blobs/", Reply(307, headers={"Location": location}))
            got = await self.client.get(self.path)
            self.assertEqual(502, got.status, location)


class ManifestFaults(MirrorTestCase):
    """Manifests that are not what they should be."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest, _ = self.registry.add_image("library/app", "1")
        self.raw = self.registry.manifests["library/app", "1"][0]

    @running
    async def test_other_than_its_digest(self) -> None:
        """A manifest that does not match the digest asked for is not served."""
        await self.start()
        self.registry.script("/manifests/", Reply(body=self.raw + b" "))
        got = await self.client.get(f"/v2/library/app/manifests/{self.manifest}")
        self.assertEqual(502, got.status)
        self.assertEqual(set(), self.files())

    @running
    async def test_lying_digest_of_a_tag(self) -> None:
        """A wrong Docker-Content-Digest is never passed on."""
        await self.start()
        lie = str(Digest.of(b"something else"))
        headers = {"Docker-Content-Digest": lie, "Content-Type": OCI_MANIFEST}
        self.registry.script("/manifests/", Reply(body=self.raw, headers=headers))
        for method in ("GET", "HEAD"):
            got = await self.client.get("/v2/library/app/manifests/1", method)
            self.assertEqual(502, got.status)
            self.assertNotIn("docker-content-digest", got.headers)

    @running
    async def test_missing_digest_and_type(self) -> None:
        """A registry that sends neither digest nor type is coped with."""
        await self.start()
        self.registry.script("/manifests/", Reply(body=self.raw))
        got = await self.client.get("/v2/library/app/manifests/1", "HEAD")
        self.assertEqual(str(self.manifest), got.headers["docker-content-digest"])
        self.assertEqual(OCI_MANIFEST, got.headers["content-type"])
        self.assertEqual(len(self.raw), got.length)

    @running
    async def test_too_large(self) -> None:
        """A manifest over 4 MiB is refused without reading it all, with or without a length."""
        await self.start()
        for chunked in (False, True):
            hung_up = self.registry.hung_up
            self.registry.script("/manifests/", Reply(body=bytes(64 << 20), chunked=chunked))
            got = await self.client.get("/v2/library/app/manifests/1")
            self.assertEqual(502, got.status)
            await until(lambda: self.registry.hung_up > hung_up)  # noqa: B023

    @running
    async def test_not_a_manifest(self) -> None:
        """A login page with status 200 is not served as a manifest."""
        await self.start()
        page = Reply(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})
        self.registry.script("/manifests/", page)
        got = await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual(502, got.status)

    @running
    async def test_statuses(self) -> None:
        """Upstream's statuses become ones that make clients go to their next host."""
        for status, headers, expected, code in (
            (404, {}, 404, "MANIFEST_UNKNOWN"),
            (401, {"WWW-Authenticate": 'Basic realm="x"'}, 403, "DENIED"),
            (403, {}, 403, "DENIED"),
            (429, {"Retry-After": "17"}, 503, "TOOMANYREQUESTS"),
            (500, {}, 502, "UNAVAILABLE"),
            (503, {}, 502, "UNAVAILABLE"),
            (504, {}, 504, "UNAVAILABLE"),
        ):
            await self.start()
            self.registry.script("/manifests/", Reply(status, headers=dict(headers)))
            got = await self.time.hurry(self.client.get("/v2/library/app/manifests/1"))
            error = json.loads(got.body)["errors"][0]
            self.assertEqual((expected, code), (got.status, error["code"]), status)
            self.assertNotIn("www-authenticate", got.headers)
            self.assertIn(self.registry.host, error["message"])
            if status == 429:
                self.assertEqual("17", got.headers["retry-after"])
            await self.stop()

    @running
    async def test_never_answers(self) -> None:
        """An upstream that accepts and says nothing costs a bounded time, and is a 504."""
        await self.start(self.upstream("docker.io", response_timeout=0.05))
        self.registry.script("", Reply(silent=True))
        blob = Digest.of(b"x")
        for path in ("manifests/1", f"blobs/{blob}", "tags/list", f"referrers/{blob}"):
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual(504, got.status, path)
            await self.stop()
            await self.start(self.upstream("docker.io", response_timeout=0.05))

    @running
    async def test_refused_connection(self) -> None:
        """A refused connection is an error at once."""
        upstreams = (self.upstream("docker.io"),)
        await self.registry.stop()
        await self.start(*upstreams)
        got = await self.time.hurry(self.client.get("/v2/library/app/manifests/1"))
        self.assertEqual(502, got.status)
        self.assertIn(b"refused", got.body)
