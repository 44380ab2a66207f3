"""Pulls through a bucket: what is stored, what a hit costs, what another daemon finds."""

from __future__ import annotations

from attrs import evolve

from tests.support.daemon import running, until
from tests.support.patterns import noise
from tests.support.s3_daemon import MIB, BucketTestCase


class Pulling(BucketTestCase):
    """Two daemons, one after the other or side by side, on one bucket."""

    @running
    async def test_cold_pull_is_kept_for_all(self) -> None:
        """Blobs, manifest and tag go to the bucket; another daemon serves them and asks no upstream."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        daemon = await self.start()
        paths = ["manifests/1", f"manifests/{manifest}", *(f"blobs/{blob}" for blob in blobs)]
        bodies = [(await self.client.get(f"/v2/library/app/{path}")).body for path in paths]
        await until(lambda: all(map(self.has, blobs)))
        await until(lambda: not len(daemon.parts.records))
        self.assertEqual(
            {
                *map(self.key, blobs),
                f"repositories/docker.io/_manifests/{_path(manifest)}",
                "repositories/docker.io/library/app/_tags/1",
                "usage/began",
            },
            self.keys(),
        )
        for blob in blobs:
            self.assertEqual(self.registry.blobs[str(blob)], self.content(blob))
        asked = len(self.registry.asked)
        await self.start()
        for path, body in zip(paths, bodies, strict=True):
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual((200, body), (got.status, got.body), path)
            head = await self.client.get(f"/v2/library/app/{path}", "HEAD")
            self.assertEqual((200, len(body)), (head.status, head.length), path)
        self.assertEqual(asked, len(self.registry.asked))

    @running
    async def test_a_hit_is_one_request(self) -> None:
        """A blob from the bucket costs one GET and no HEAD, HEAD one HEAD, a manifest one GET."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        await self.start()
        for path in ("manifests/1", *(f"blobs/{blob}" for blob in blobs)):
            await self.client.get(f"/v2/library/app/{path}")
        await until(lambda: all(map(self.has, blobs)))
        await self.start()
        for method, path in (
            ("GET", f"manifests/{manifest}"),
            ("GET", f"blobs/{blobs[1]}"),
            ("HEAD", f"blobs/{blobs[1]}"),
        ):
            self.proxy.asked.clear()
            got = await self.client.get(f"/v2/library/app/{path}", method)
            self.assertEqual(200, got.status)
            self.assertEqual([method], [asked.method for asked in self.proxy.asked], path)

    @running
    async def test_ranges(self) -> None:
        """A range is fetched as a range: no more than it, and what comes before or behind is not."""
        data = noise(1, 20 * MIB)
        digest = self.registry.add_blob(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(len(data))})
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        for asked, start, stop in (
            ("bytes=100-199", 100, 200),
            ("bytes=15000000-15000099", 15_000_000, 15_000_100),
            (f"bytes={20 * MIB - 10}-", 20 * MIB - 10, 20 * MIB),
        ):
            self.proxy.asked.clear()
            got = await self.client.get(path, Range=asked)
            self.assertEqual((206, data[start:stop]), (got.status, bytes(got.body)))
            self.assertEqual(f"bytes {start}-{stop - 1}/{20 * MIB}", got.headers["content-range"])
            ranges = [a.headers["range"] for a in self.proxy.matching("GET")]
            self.assertEqual(1, len(ranges), ranges)
            first, last = ranges[0].removeprefix("bytes=").split("-")
            self.assertEqual(start, int(first))
            if stop < 20 * MIB:
                self.assertEqual(stop - 1, int(last))
        for asked, start in (("bytes=-10", 20 * MIB - 10), ("bytes=5000000-", 5_000_000)):
            got = await self.client.get(path, Range=asked)
            self.assertEqual(206, got.status)
            self.assertTrue(data[start:] == got.body)
        got = await self.client.get(path, Range=f"bytes={20 * MIB}-")
        self.assertEqual((416, f"bytes */{20 * MIB}"), (got.status, got.headers["content-range"]))
        self.assertEqual(0, len(self.registry.asked))

    @running
    async def test_a_large_blob_comes_in_pieces(self) -> None:
        """A blob of many MiB is fetched a few MiB at a time, each byte once."""
        data = noise(2, 30 * MIB)
        digest = self.registry.add_blob(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(len(data))})
        await self.start()
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertTrue(data == got.body)
        spans = []
        for asked in self.proxy.matching("GET", self.key(digest)):
            first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
            spans.append((first, min(last + 1, len(data))))
        spans.sort()
        self.assertEqual([0, *(stop for _, stop in spans)], [*(f for f, _ in spans), len(data)])
        self.assertTrue(all(stop - first <= 8 * MIB for first, stop in spans), spans)

    @running
    async def test_many_clients_share_what_is_fetched(self) -> None:
        """20 clients of one blob in the bucket cost hardly more requests than one."""
        data = noise(3, 12 * MIB)
        digest = self.registry.add_blob(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(len(data))})
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        responses = [await self.client.begin_compared(path, data) for _ in range(20)]
        for response in responses:
            await response.done
            self.assertTrue(response.body.right)
        self.assertLessEqual(self.proxy.count("GET", self.key(digest)), 10)

    @running
    async def test_below_a_prefix(self) -> None:
        """Daemons with different prefixes share a bucket and nothing else."""
        digest = self.registry.add_blob(b"blob" * 1000)
        for prefix in ("one", "another/one"):
            await self.start(storage=evolve(self.storage, prefix=prefix))
            await self.client.get(f"/v2/library/app/blobs/{digest}")
            await until(lambda p=prefix: f"{p}/{self.key(digest)}" in self.keys())  # type: ignore[misc]
        self.assertEqual(2, self.registry.count("/blobs/"))
        self.assertEqual(
            {
                f"{p}/{key}"
                for p in ("one", "another/one")
                for key in (self.key(digest), "usage/began")
            },
            self.keys(),
        )


def _path(digest: object) -> str:
    algorithm, _, encoded = str(digest).partition(":")
    return f"{algorithm}/{encoded[:2]}/{encoded[2:]}"
