"""Upstreams that encode what was asked for as it is, or say that they did: the digest decides."""

from __future__ import annotations

import gzip
import json
import zlib

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.unit.streams.test_inflate import tar

NOISE = noise(12, 400_000)
PLAIN = tar(NOISE)
LAYER = gzip.compress(tar(NOISE), mtime=0)


class EncodedAnswers(MirrorTestCase):
    """Answers with a Content-Encoding."""

    async def pull(
        self, body: bytes, coding: str, blob: bytes, *, chunked: bool = False
    ) -> Response:
        """Pull a cold *blob* that is sent as *body*."""
        digest = self.registry.add_blob(blob)
        headers = {"Content-Encoding": coding}
        self.registry.script("/blobs/", Reply(body=body, headers=headers, chunked=chunked))
        return await self.client.get(f"/v2/library/app/blobs/{digest}")

    async def right(self, body: bytes, coding: str, blob: bytes, *, chunked: bool = False) -> None:
        """The client gets the blob after one request, and it is kept."""
        await self.start()
        got = await self.pull(body, coding, blob, chunked=chunked)
        self.assertEqual((200, True, True), (got.status, got.complete, got.body == blob), coding)
        self.assertNotIn("content-encoding", got.headers)
        self.assertEqual("identity", self.registry.asked[-1].headers["accept-encoding"])
        await until(lambda: len(self.files("blobs")) == 1)
        self.assertEqual(1, self.registry.count("/blobs/"))
        await self.afresh()

    @running
    async def test_blob_encoded_on_the_way(self) -> None:
        """A blob that upstream encodes in spite of ``identity`` is undone."""
        for coding, body in (
            ("gzip", gzip.compress(LAYER)),
            ("GZIP", gzip.compress(LAYER)),
            ("x-gzip", gzip.compress(LAYER)),
            ("deflate", zlib.compress(LAYER)),
        ):
            for chunked in (True, False):
                await self.right(body, coding, LAYER, chunked=chunked)

    @running
    async def test_blob_under_a_name(self) -> None:
        """A blob that is sent as it is, whatever coding is named, is served as it is."""
        for coding in ("gzip", "x-gzip", "aws-chunked", "none", "utf-8", "binary", "br", "zstd"):
            await self.right(LAYER, coding, LAYER)

    @running
    async def test_known_size(self) -> None:
        """The size that the manifest tells says whether a body is the blob."""
        for blob, body in ((NOISE, gzip.compress(NOISE)), (PLAIN, gzip.compress(PLAIN))):
            for sent in (body, blob):
                _, blobs = self.registry.add_image("library/app", "1", blob)
                await self.start()
                await self.client.get("/v2/library/app/manifests/1")
                got = await self.pull(sent, "gzip", blob)
                self.assertEqual((200, True), (got.status, got.body == blob))
                self.assertEqual(1, self.registry.count(str(blobs[1])))
                await self.afresh()

    @running
    async def test_wrong_guess(self) -> None:
        """Where the first bytes mislead, upstream is asked again at once, and not blamed."""
        for blob, body in (
            # An archive that is encoded on the way looks like a layer under a name.
            (tar(NOISE[:20_000]), gzip.compress(tar(NOISE[:20_000]))),
            # And a gzip of something else like something that is encoded on the way.
            (gzip.compress(NOISE[:20_000]), gzip.compress(NOISE[:20_000])),
        ):
            await self.start()
            for chunked in (True, False):
                got = await self.pull(body, "gzip", blob, chunked=chunked)
                self.assertEqual((200, True, blob), (got.status, got.complete, bytes(got.body)))
                await self.idle()
            self.assertEqual(2, self.registry.count("/blobs/"))
            await self.afresh()

    @running
    async def test_wrong_guess_of_much(self) -> None:
        """A client that has received wrong bytes gets no end of them, and the next gets the blob."""
        await self.start()
        blob = gzip.compress(NOISE)
        got = await self.pull(blob, "gzip", blob)
        self.assertFalse(got.complete and got.body != blob)
        again = await self.client.get(f"/v2/library/app/blobs/{Digest.of(blob)}")
        self.assertEqual((True, True), (again.complete, again.body == blob))
        self.assertEqual(2, self.registry.count("/blobs/"))

    @running
    async def test_wrong_either_way(self) -> None:
        """Bytes that are wrong both ways are never completed, nor kept."""
        await self.start(self.upstream("docker.io", retries=0))
        digest = self.registry.add_blob(LAYER)
        reply = Reply(body=gzip.compress(LAYER[:-9]), headers={"Content-Encoding": "gzip"})
        self.registry.script("/blobs/", reply)
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertTrue(got.status == 502 or not got.complete)
        await until(lambda: not self.files())
        self.assertLess(self.registry.count("/blobs/"), 4)

    @running
    async def test_encoded_twice(self) -> None:
        """Blobs, manifests and lists that are encoded more than once are refused unread."""
        await self.start()
        digest = self.registry.add_blob(LAYER)
        twice = {"Content-Encoding": "gzip, gzip"}
        self.registry.script("", Reply(body=gzip.compress(gzip.compress(LAYER)), headers=twice))
        for path in (f"blobs/{digest}", "manifests/1", f"manifests/{digest}", "tags/list"):
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual(502, got.status, path)
            self.assertIn(f"upstream {self.registry.host} sent an answer", got.body.decode())

    @running
    async def test_manifests(self) -> None:
        """A manifest is the reading that has its digest, and by tag the one that is a manifest."""
        digest, _ = self.registry.add_image("library/app", "1")
        raw, _ = self.registry.manifests["library/app", "1"]
        for coding, body in (
            ("gzip", gzip.compress(raw)),
            ("Deflate", zlib.compress(raw)),
            ("x-gzip", raw),
            ("aws-chunked", raw),
            ("br", raw),
        ):
            for claim in ({}, {"Docker-Content-Digest": str(digest)}):
                headers = {"Content-Encoding": coding, "Content-Type": OCI_MANIFEST, **claim}
                await self.start()
                self.registry.script("/manifests/", Reply(body=body, headers=headers))
                for reference in ("1", digest):
                    got = await self.client.get(f"/v2/library/app/manifests/{reference}")
                    self.assertEqual((200, raw), (got.status, bytes(got.body)), coding)
                await self.afresh()

    @running
    async def test_lists(self) -> None:
        """A list is the reading that is JSON."""
        self.registry.add_image("library/app", "1")
        raw = b'{"tags": ["1"]}'
        await self.start()
        for coding, body in (("gzip", gzip.compress(raw)), ("gzip", raw), ("none", raw)):
            reply = Reply(body=body, headers={"Content-Encoding": coding})
            self.registry.script("/tags/list", reply)
            got = await self.client.get("/v2/library/app/tags/list")
            self.assertEqual(["1"], json.loads(got.body)["tags"])
