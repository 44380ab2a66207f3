"""Many clients of one cold blob: one download, every byte right, the slow harm nobody."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.streams import LIMITS

MIB = 1024 * 1024


class Joining(MirrorTestCase):
    """One transfer and its followers."""

    timeout = 120

    @running
    async def test_fifty_clients_of_a_cold_blob(self) -> None:
        """50 clients, one slow, five leaving, ten late, some with ranges: one upstream GET."""
        data = noise(1, 16 * MIB)
        digest = self.registry.add_blob(data)
        path = f"/v2/library/app/blobs/{digest}"
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=12 * MIB))
        await self.start()

        slow = await self.client.begin(path)
        await slow.got_headers
        slow.pause()
        leaving = [await self.client.begin(path, leave_at=(n + 1) * MIB) for n in range(5)]
        early = [await self.client.begin_compared(path, data) for _ in range(30)]
        for response in leaving:
            await response.done
        await until(lambda: all(len(r.body) >= 11 * MIB for r in early))
        late = [await self.client.begin_compared(path, data) for _ in range(10)]
        ranges = [(0, 100), (5 * MIB, 6 * MIB), (13 * MIB, 14 * MIB), (16 * MIB - 10, 16 * MIB)]
        ranged = [
            await self.client.begin(path, Range=f"bytes={start}-{stop - 1}")
            for start, stop in ranges
        ]
        gate.callback(None)
        for response in (*early, *late):
            await response.done
            self.assertTrue(response.complete)
            self.assertTrue(response.body.right)
        for response, (start, stop) in zip(ranged, ranges, strict=True):
            await response.done
            self.assertEqual((206, data[start:stop]), (response.status, bytes(response.body)))
        self.assertFalse(slow.complete)
        slow.resume()
        await slow.done
        self.check(slow, data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    def check(self, response: Response, data: bytes) -> None:
        self.assertEqual((200, True), (response.status, response.complete))
        # Not assertEqual: its message would be all of both.
        self.assertTrue(response.body == data, "the bytes differ")

    @running
    async def test_all_clients_leave(self) -> None:
        """When every client has left, the download continues and the blob is kept."""
        data = noise(2, MIB)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=MIB // 2))
        await self.start()
        leaving = await self.client.begin(f"/v2/library/app/blobs/{digest}", leave_at=1)
        await leaving.done
        gate.callback(None)
        await until(lambda: bool(self.files("blobs")))
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.check(got, data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_tail_is_held_back(self) -> None:
        """The last 64 KiB wait for the digest; a range of what is there does not."""
        data = noise(3, MIB)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=MIB - 1))
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        whole = await self.client.begin(path)
        await until(lambda: len(whole.body) >= MIB - LIMITS.tail)
        part = await self.client.get(path, Range="bytes=10-19")
        self.assertEqual(data[10:20], bytes(part.body))
        self.assertEqual(MIB - LIMITS.tail, len(whole.body))
        gate.callback(None)
        self.check(await whole.done, data)

    @running
    async def test_another_upstream_without_the_blob(self) -> None:
        """A client that joins a transfer that fails asks the upstream that it named itself."""
        data = noise(4, 1000)
        digest = Digest.of(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/v2/without/", lambda _: Reply(404, b"{}", hold=gate))
        self.registry.script("/v2/team/with/", Reply(body=data))
        await self.start()
        first = await self.client.begin(f"/v2/example.com/without/x/blobs/{digest}")
        await until(lambda: self.registry.count("/v2/without/") == 1)
        second = await self.client.begin(f"/v2/example.com/team/with/blobs/{digest}")
        gate.callback(None)
        await first.done
        await second.done
        self.assertEqual((404, 200), (first.status, second.status))
        self.check(second, data)

    @running
    async def test_head_of_a_cold_blob(self) -> None:
        """HEAD asks upstream's HEAD, and downloads nothing."""
        digest = self.registry.add_blob(bytes(1234))
        await self.start()
        got = await self.client.get(f"/v2/library/app/blobs/{digest}", "HEAD")
        self.assertEqual((200, 1234), (got.status, got.length))
        self.assertEqual(str(digest), got.headers["docker-content-digest"])
        self.assertEqual(0, self.registry.count("/blobs/"))
        self.assertEqual(set(), self.files())

    @running
    async def test_store_that_cannot_be_written(self) -> None:
        """A store that fails is no reason that a pull fails; it recovers by itself."""
        self.root.write_text("not a directory")
        _, blobs = self.registry.add_image("library/app", "1", noise(5, 6 * MIB))
        await self.start()
        self.assertEqual(503, (await self.client.get("/readyz")).status)
        paths = ["manifests/1", *(f"blobs/{blob}" for blob in blobs)]
        for path in paths:
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual((200, True), (got.status, got.complete), path)
        self.root.unlink()
        for path in paths:
            await self.client.get(f"/v2/library/app/{path}")
        await until(lambda: len(self.files("blobs")) == len(blobs))
        self.assertEqual(200, (await self.client.get("/readyz")).status)
