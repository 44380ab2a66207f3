"""Clients that are sent to the bucket itself."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from attrs import evolve

from oci_registry.spec.digest import Digest
from tests.support.client import Client, Response
from tests.support.daemon import reactor, running, until
from tests.support.s3_daemon import BucketTestCase
from tests.support.s3_proxy import closed


class Redirect(BucketTestCase):
    """With ``--redirect``."""

    def setUp(self) -> None:
        super().setUp()
        self.storage = evolve(self.storage, redirect=True, redirect_endpoint=self.direct.endpoint)
        self.data = b"layer" * 10_000
        self.manifest, (self.config, self.layer) = self.registry.add_image(
            "library/app", "1", self.data
        )
        self.path = f"/v2/library/app/blobs/{self.layer}"

    def placed(self) -> None:
        """Put the layer into the bucket as one of ours."""
        self.place(self.layer, self.data, Metadata={"oci-registry-size": str(len(self.data))})

    async def follow(self, response: Response, **headers: str) -> Response:
        """Fetch what a response points to, as a client would."""
        place = urlsplit(response.headers["location"])
        client = Client(reactor, place.port)
        self.addCleanup(client.close)
        lines = [f"GET {place.path}?{place.query} HTTP/1.1", f"Host: {place.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        got = await client.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await got.done

    @running
    async def test_stored_blob(self) -> None:
        """A blob that is stored is a 307 to a link that works, and tells no secret."""
        self.placed()
        await self.start()
        response = await self.client.get(self.path)
        self.assertEqual((307, b""), (response.status, bytes(response.body)))
        self.assertEqual("no-store", response.headers["cache-control"])
        self.assertEqual(str(self.layer), response.headers["docker-content-digest"])
        location = response.headers["location"]
        self.assertEqual(urlsplit(self.direct.endpoint).netloc, urlsplit(location).netloc)
        self.assertNotIn("testsecret", location)
        query = parse_qs(urlsplit(location).query)
        self.assertTrue(0 < int(query["X-Amz-Expires"][0]) <= 900)
        self.assertIn("X-Amz-Signature", query)
        got = await self.follow(response)
        self.assertEqual((200, self.data), (got.status, bytes(got.body)))
        part = await self.follow(response, Range="bytes=5-9")
        self.assertEqual((206, b"layer"), (part.status, bytes(part.body)))
        self.assertEqual([], self.registry.asked)
        # The bytes did not go through the daemon, but for one that shows that they can be read.
        read = [
            asked.headers["range"] for asked in self.proxy.matching("GET", self.key(self.layer))
        ]
        self.assertEqual(["bytes=0-0"], read)
        self.assertEqual(307, (await self.client.get(self.path)).status)
        self.assertEqual(1, self.proxy.count("GET", self.key(self.layer)))

    @running
    async def test_what_is_not_redirected(self) -> None:
        """HEAD, manifests, ranges and what is not stored yet are answered by the daemon."""
        await self.start()
        cold = await self.client.get(self.path)
        self.assertEqual((200, self.data), (cold.status, bytes(cold.body)))
        await until(lambda: self.has(self.layer))
        head = await self.client.get(self.path, "HEAD")
        self.assertEqual((200, len(self.data)), (head.status, head.length))
        for _ in range(2):
            manifest = await self.client.get("/v2/library/app/manifests/1")
            self.assertEqual(200, manifest.status)
            self.assertEqual(self.manifest, Digest.of(bytes(manifest.body)))
        part = await self.client.get(self.path, Range="bytes=5-9")
        self.assertEqual((206, b"layer"), (part.status, bytes(part.body)))
        self.assertEqual(307, (await self.client.get(self.path)).status)

    @running
    async def test_ranges(self) -> None:
        """With ``--redirect-ranges`` parts are redirected too."""
        self.placed()
        await self.start(storage=evolve(self.storage, redirect_ranges=True))
        response = await self.client.get(self.path, Range="bytes=5-9")
        self.assertEqual(307, response.status)
        got = await self.follow(response, Range="bytes=5-9")
        self.assertEqual((206, b"layer"), (got.status, bytes(got.body)))

    @running
    async def test_object_of_somebody_else(self) -> None:
        """Nobody is sent to what was not verified: it is hashed first, and removed if it is wrong."""
        await self.start()
        self.place(self.layer, self.data[:-1] + b"x")
        got = await self.client.get(self.path)
        self.assertEqual((200, self.data), (got.status, bytes(got.body)))
        self.place(self.layer, self.data)
        response = await self.client.get(self.path)
        self.assertEqual(307, response.status)
        self.assertEqual(self.data, bytes((await self.follow(response)).body))

    @running
    async def test_server_down(self) -> None:
        """A link that could not work is not given: the blob comes from upstream."""
        self.placed()
        await self.start()
        self.proxy.script("*", closed)
        got = await self.client.get(self.path)
        self.assertEqual((200, self.data), (got.status, bytes(got.body)))

    @running
    async def test_without(self) -> None:
        """Nobody is redirected unless it was asked for."""
        self.placed()
        await self.start(storage=evolve(self.storage, redirect=False, redirect_endpoint=None))
        self.assertEqual(200, (await self.client.get(self.path)).status)

    @running
    async def test_a_link_is_a_use(self) -> None:
        """A blob that is fetched by links alone is not swept."""
        self.placed()
        daemon = await self.start()
        self.clock.ahead += 20 * 86400
        self.assertEqual(307, (await self.client.get(self.path)).status)
        await daemon.parts.sweep.run()
        self.assertTrue(self.has(self.layer))
