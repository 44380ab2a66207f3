"""The client of a registry, over real sockets, against a registry that misbehaves."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    TooManyRequests,
)
from oci_registry.spec.mediatypes import MANIFEST_TYPES, OCI_MANIFEST
from oci_registry.spec.reference import Tag
from oci_registry.upstream.interfaces import Page
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.forward import ForwardReactor
from tests.support.upstream_client import Client, ClientTestCase, Talk, all_of, read

DATA = bytes(range(256)) * 2000
BLOB = Digest.of(DATA)
LATEST = Tag("latest")
APP = "library/app"


def every(client: Client) -> list[Any]:
    """Ask everything that can be asked."""
    return [
        client.manifest(APP, LATEST),
        client.manifest(APP, BLOB),
        client.manifest_digest(APP, LATEST),
        client.blob(APP, BLOB),
        client.blob_size(APP, BLOB),
        client.tags(APP, None, None),
        client.referrers(APP, BLOB),
    ]


class Good(ClientTestCase):
    """A registry as it should be."""

    @running
    async def test_everything(self) -> None:
        """Manifests, blobs, their digests and sizes, and tags are had as they are."""
        digest, blobs = self.registry.add_image(APP, "latest", DATA)
        client = self.connect()
        manifest = await client.manifest(APP, LATEST)
        self.assertEqual((digest, OCI_MANIFEST), (manifest.digest, manifest.media_type))
        self.assertEqual(manifest, await client.manifest(APP, digest))
        self.assertEqual(digest, await client.manifest_digest(APP, LATEST))
        blob = await client.blob(APP, blobs[1])
        self.assertEqual(len(DATA), blob.head.size)
        self.assertEqual(DATA, await read(blob))
        self.assertEqual(len(DATA), await client.blob_size(APP, blobs[1]))
        self.assertEqual(Page(("latest",), None), await client.tags(APP, None, None))
        self.assertEqual(["ok"] * 6, self.outcomes)

    @running
    async def test_headers(self) -> None:
        """Every kind of manifest is accepted, bodies are asked for as they are, and a name is given."""
        self.registry.add_image(APP, "latest")
        await self.connect(user_agent="me/1").manifest(APP, LATEST)
        await self.connect().manifest_digest(APP, LATEST)
        for asked, agent in zip(self.registry.asked, ("me/1", "oci-registry"), strict=True):
            accepted = asked.headers["accept"]
            self.assertTrue(all(kind in accepted for kind in MANIFEST_TYPES))
            self.assertIn("*/*", accepted)
            self.assertEqual("identity", asked.headers["accept-encoding"])
            self.assertEqual(agent, asked.headers["user-agent"])
            self.assertNotIn("authorization", asked.headers)

    @running
    async def test_connection_is_reused(self) -> None:
        """Answers good and bad leave the connection to the next question."""
        self.registry.add_image(APP, "latest")
        self.registry.add_blob(DATA)
        client = self.connect()
        for _ in range(3):
            await client.manifest(APP, LATEST)
            await client.manifest_digest(APP, LATEST)
            await read(await client.blob(APP, BLOB))
            await self.error(client.manifest(APP, Tag("missing")), ManifestUnknown)
            await self.error(client.blob_size(APP, Digest.of(b"")), BlobUnknown)
        # Who asks again before the end of a refusal's body has arrived takes another one.
        self.assertLess(self.registry.connections, 3)

    @running
    async def test_no_cookies(self) -> None:
        """Cookies are not kept."""
        self.registry.add_image(APP, "latest")
        client = self.connect()

        def answer(asked: Any) -> Reply:
            reply = self.registry.honest(asked)
            reply.headers["Set-Cookie"] = "session=1; Path=/"
            return reply

        self.registry.script("", answer)
        for _ in range(2):
            await client.manifest(APP, LATEST)
        self.assertNotIn("cookie", self.registry.asked[1].headers)

    @running
    async def test_pages(self) -> None:
        """Tags come in the pages that were asked for."""
        for tag in "abcde":
            self.registry.add_image(APP, tag)
        client = self.connect()
        self.assertEqual(Page(("a", "b"), "b"), await client.tags(APP, 2, None))
        self.assertEqual(Page(("c", "d"), "d"), await client.tags(APP, 2, "b"))
        self.assertEqual(Page(("e",), None), await client.tags(APP, 2, "d"))

    @running
    async def test_claims(self) -> None:
        """A digest that is not claimed, or claimed in a form that is none, is computed."""
        digest, _ = self.registry.add_image(APP, "latest")
        raw = self.registry.manifests[APP, "latest"][0]
        client = self.connect()
        for claim in (None, "", "latest", "md5:abc", "sha256:ABC", f" {digest} "):
            headers = {} if claim is None else {"Docker-Content-Digest": claim}
            self.registry.script("/manifests/", Reply(body=raw, headers=headers))
            self.assertEqual(digest, (await client.manifest(APP, LATEST)).digest)
            self.registry.script("/manifests/", Reply(body=raw, headers=headers), "HEAD")
            expected = digest if claim is not None and str(digest) in claim else None
            self.assertEqual(expected, await client.manifest_digest(APP, LATEST))

    @running
    async def test_head_not_offered(self) -> None:
        """An upstream without HEAD does not say, which is no error."""
        for status in (405, 501):
            self.registry.script("/manifests/", Reply(status), "HEAD")
            self.assertIsNone(await self.connect().manifest_digest(APP, LATEST))

    @running
    async def test_sizes(self) -> None:
        """A size that a HEAD does not tell, or tells in a form that is none, is not known."""
        client = self.connect()
        for length, expected in (("5", 5), ("0", 0), (None, None)):
            self.registry.script("/blobs/", Reply(length=length), "HEAD")
            self.assertEqual(expected, await client.blob_size(APP, BLOB))
        packed = Reply(length="5", headers={"Content-Encoding": "gzip"})
        self.registry.script("/blobs/", packed, "HEAD")
        self.assertIsNone(await client.blob_size(APP, BLOB))


class Refusals(ClientTestCase):
    """A registry that answers, but not what was hoped for."""

    @running
    async def test_statuses(self) -> None:
        """Each status has its error, which names the host."""
        client = self.connect()
        for status, kind in (
            (401, Denied),
            (403, Denied),
            (429, TooManyRequests),
            (500, BadGateway),
            (503, BadGateway),
            (504, GatewayTimeout),
            (204, BadGateway),
            (206, BadGateway),
            (304, BadGateway),
            (418, BadGateway),
        ):
            self.registry.unscript()
            for method in ("GET", "HEAD"):
                self.registry.script("", Reply(status, b"" if status < 400 else b"why"), method)
            for question in every(client):
                if question.__name__ == "referrers" and status in (204, 206, 304, 418):
                    # There is neither the API nor a tag that takes its place.
                    self.assertEqual((), (await question).manifests)
                else:
                    await self.error(question, kind)
                    self.assertEqual(str(kind.status), self.outcomes[-1])

    @running
    async def test_unknown(self) -> None:
        """A 404 is the unknown manifest or blob that was asked for."""
        client = self.connect()
        await self.error(client.manifest(APP, LATEST), ManifestUnknown)
        await self.error(client.manifest_digest(APP, LATEST), ManifestUnknown)
        await self.error(client.blob(APP, BLOB), BlobUnknown)
        await self.error(client.blob_size(APP, BLOB), BlobUnknown)
        self.assertEqual((), (await client.referrers(APP, BLOB)).manifests)


class Broken(ClientTestCase):
    """Something that is hardly a registry."""

    async def told(self, words: bytes) -> None:
        """When upstream says just that, it is a 502."""
        talk = Talk(words)
        client = self.connect(host=talk.host)
        await self.error(client.manifest(APP, LATEST), BadGateway, talk.host)
        await talk.stop()

    @running
    async def test_not_http(self) -> None:
        """What is not HTTP is a 502."""
        good = b"HTTP/1.1 200 OK\r\n"
        for words in (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            b"\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"",
            good + b"Content-Length: abc\r\n\r\n",
            good + b"Content-Length: -5\r\n\r\n",
            good + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
            good + b"Content-Length: 5\r\n\r\n123",
            good + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            good + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345",
            good + b"X: " + b"x" * 100_000,
        ):
            await self.told(words)

    @running
    async def test_refused(self) -> None:
        """A port where nobody listens costs nothing."""
        talk = Talk(b"")
        await talk.stop()
        client = self.connect(host=talk.host)
        message = await self.error(client.manifest(APP, LATEST), BadGateway, talk.host)
        self.assertIn("refused", message)

    @running
    async def test_never_answers(self) -> None:
        """Whatever is asked, and wherever the answer stops, it is given up in time and hung up on."""
        time = ForwardReactor(reactor)
        client = self.connect(on=time, response_timeout=5.0)
        for method in ("GET", "HEAD"):
            self.registry.script("", Reply(silent=True), method)
        for question in every(client):
            await time.hurry(self.error(question, GatewayTimeout))
        self.registry.script("", Reply(body=b"{" * 1000, hold=Deferred(), hold_at=10))
        for question in (client.manifest(APP, LATEST), client.tags(APP, None, None)):
            await time.hurry(self.error(question, GatewayTimeout))
        await client.close()
        await until(lambda: not self.registry.channels)

    @running
    async def test_blob_cut(self) -> None:
        """A body that breaks off fails with how far it came, in order or not."""
        client = self.connect()
        for reset in (False, True):
            reply = Reply(body=DATA, cut=len(DATA) // 2, reset=reset)
            self.registry.script("/blobs/", reply)
            message = await self.error(read(await client.blob(APP, BLOB)), BadGateway)
            self.assertRegex(message, "broke|of")

    @running
    async def test_blob_stalls(self) -> None:
        """A body that stalls is given up."""
        self.registry.script("/blobs/", Reply(body=DATA, hold=Deferred(), hold_at=1000))
        client = self.connect(body_timeout=0.05)
        await self.error(read(await client.blob(APP, BLOB)), GatewayTimeout)
        await until(lambda: not self.registry.channels)

    @running
    async def test_blob_not_wanted(self) -> None:
        """Abandoning or cancelling a download closes its connection, and no other."""
        self.registry.add_blob(DATA * 50)
        client = self.connect()
        digest = Digest.of(DATA * 50)
        (await client.blob(APP, digest)).abandon()
        await until(lambda: not self.registry.channels)
        reading = Deferred.fromCoroutine(read(await client.blob(APP, digest)))
        reading.cancel()
        await self.error(reading, BadGateway)
        await until(lambda: not self.registry.channels)

    @running
    async def test_one_slow_question(self) -> None:
        """A question that is not answered delays no other."""
        self.registry.add_image(APP, "latest")
        self.registry.script("/blobs/", Reply(silent=True))
        client = self.connect()
        waiting = Deferred.fromCoroutine(self.error(client.blob(APP, BLOB), BadGateway))
        answers = await all_of([client.manifest(APP, LATEST) for _ in range(5)])
        self.assertEqual(5, len(answers))
        self.registry.script("/blobs/", Reply(500))
        self.assertFalse(waiting.called)
        for channel in list(self.registry.channels):
            channel.transport.loseConnection()
        await waiting
