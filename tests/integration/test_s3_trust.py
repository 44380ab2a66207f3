"""Objects that are wrong, short or of somebody else's making."""

from __future__ import annotations

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.storage import blobs as blob_store
from tests.support.daemon import running, until
from tests.support.patterns import noise
from tests.support.s3_daemon import MIB, BucketTestCase
from tests.support.s3_proxy import refusal


class Trust(BucketTestCase):
    """What is in the bucket is served if it is right, and fetched again if it is not."""

    def blob(self, size: int) -> tuple[Digest, bytes, str]:
        """Return a blob that upstream has, and its path."""
        data = noise(size, size)
        digest = self.registry.add_blob(data)
        return digest, data, f"/v2/library/app/blobs/{digest}"

    def hashed(self) -> list[Digest]:
        """Return a list that grows with the blobs that are hashed."""
        hashed: list[Digest] = []

        class Counting(Verifier):
            """A verifier that records which blobs are hashed."""

            def __init__(self, expected: Digest) -> None:
                hashed.append(expected)
                super().__init__(expected)

        self.patch(blob_store, "Verifier", Counting)
        return hashed

    @running
    async def test_right_object_of_somebody_else(self) -> None:
        """It is hashed once, marked, and from then on trusted by every daemon."""
        digest, data, path = self.blob(5 * MIB)
        self.place(digest, data)
        hashed = self.hashed()
        for _ in range(2):
            await self.start()
            for method in ("HEAD", "GET", "GET", "HEAD"):
                got = await self.client.get(path, method)
                self.assertEqual((200, len(data)), (got.status, got.length))
                self.assertTrue(method == "HEAD" or got.body == data)
        self.assertEqual([digest], hashed)
        self.assertEqual(1, self.proxy.count("COPY"))
        self.assertEqual([], self.registry.asked)
        self.assertTrue(self.content(digest) == data)

    @running
    async def test_object_that_cannot_be_marked(self) -> None:
        """Where nothing may be copied, a right object is served nevertheless, hashed each time."""
        digest, data, path = self.blob(MIB)
        self.place(digest, data)
        self.proxy.script("COPY", refusal(403, "AccessDenied"))
        hashed = self.hashed()
        await self.start()
        for _ in range(2):
            self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual([digest] * 2, hashed)
        self.assertEqual([], self.registry.asked)

    @running
    async def test_wrong_objects_of_somebody_else(self) -> None:
        """One that is wrong, short, long or empty is removed and fetched; its length is never told."""
        digest, data, path = self.blob(300_000)
        await self.start()
        for wrong in (data[:-1], b"", data[:1000], data[:-1] + b"x", data + b"x"):
            self.place(digest, wrong)
            head = await self.client.get(path, "HEAD")
            self.assertEqual(len(data), head.length)
            self.assertFalse(self.has(digest))
            self.place(digest, wrong)
            self.assertTrue((await self.client.get(path)).body == data)
            await self.idle()
            self.assertTrue(self.content(digest) == data)

    @running
    async def test_truncated_object(self) -> None:
        """An object of ours that is shorter than it was is noticed at once, and fetched again."""
        digest, data, path = self.blob(300_000)
        await self.start()
        for rest in (data[:-1], data[:1000], b""):
            self.place(digest, rest, Metadata={"oci-registry-size": str(len(data))})
            got = await self.client.get(path)
            self.assertEqual((200, True), (got.status, got.complete))
            self.assertTrue(got.body == data)
            await self.idle()
            self.assertTrue(self.content(digest) == data)

    @running
    async def test_corrupted_object(self) -> None:
        """With ``--check-cache-digest`` rotten bytes are noticed at every hit, and fetched again."""
        digest, data, path = self.blob(4 * MIB)
        await self.start(check_cache_digest=True)
        rotten = data[: 3 * MIB] + bytes([data[3 * MIB] ^ 1]) + data[3 * MIB + 1 :]
        for count in range(1, 3):
            self.place(digest, rotten, Metadata={"oci-registry-size": str(len(data))})
            got = await self.client.get(path)
            self.assertTrue(got.body == data)
            await self.idle()
            self.assertTrue(self.content(digest) == data)
            self.assertEqual(count, self.registry.count(str(digest)))
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(2, self.registry.count(str(digest)))

    @running
    async def test_wrong_manifests(self) -> None:
        """A manifest or a tag that is not what it should be is fetched again."""
        manifest, _ = self.registry.add_image("library/app", "1", b"layer")
        daemon = await self.start()
        for path in ("manifests/1", f"manifests/{manifest}"):
            await self.client.get(f"/v2/library/app/{path}")
        await until(lambda: not len(daemon.parts.records))
        keys = self.keys("repositories")
        self.assertEqual(2, len(keys))
        for wrong in (b"", b"{}", b"x" * 1000, b'{"mediaType": 1}\n{}'):
            for key in keys:
                self.bucket.put_object(Bucket=self.direct.bucket, Key=key, Body=wrong)
            await self.start()
            for path in ("manifests/1", f"manifests/{manifest}"):
                got = await self.client.get(f"/v2/library/app/{path}")
                self.assertEqual(manifest, Digest.of(bytes(got.body)))

    @running
    async def test_foreign_objects_stay(self) -> None:
        """What is not ours is neither served nor swept."""
        names = {"notes.txt", "blobs/readme", "blobs/sha256/zz/top", "repositories/a/_manifests/b"}
        for name in names:
            self.bucket.put_object(Bucket=self.direct.bucket, Key=name, Body=b"foreign")
        daemon = await self.start()
        self.clock.ahead += 10 * 365 * 86400
        await daemon.parts.sweep.run()
        self.assertLessEqual(names, self.keys())
