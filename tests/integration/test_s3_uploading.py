"""How a blob gets into the bucket: in parts, while it arrives; complete, or not at all."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3.limits import S3Limits, UploadLimits
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.s3 import PART
from tests.support.s3_daemon import PATIENT_READS, BucketTestCase
from tests.support.s3_proxy import closed, held, lost, refusal

BIT = PART // 5
"""A fifth of a part."""


class UploadingTestCase(BucketTestCase):
    """Parts are small here."""

    limits = S3Limits(uploads=UploadLimits(part=PART), reads=PATIENT_READS)

    def blob(self, size: int, seed: int = 1) -> tuple[Digest, bytes, str]:
        """Return a blob that upstream has, and its path."""
        data = noise(seed, size)
        digest = self.registry.add_blob(data)
        return digest, data, f"/v2/library/app/blobs/{digest}"

    def nothing_left(self) -> None:
        """Neither an object nor a part of one is there."""
        self.assertEqual(set(), self.keys("blobs"))
        self.assertEqual([], self.uploads())


class Uploading(UploadingTestCase):
    """Parts go up while the download runs."""

    @running
    async def test_parts_go_up_while_the_blob_comes(self) -> None:
        """Parts are there before upstream has sent the last byte; the object only when all is verified."""
        digest, data, path = self.blob(17 * BIT)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=len(data) - 1))
        await self.start()
        response = await self.client.begin(path)
        await until(lambda: self.proxy.count("PART") == 3 and not self.proxy.under_way["PART"])
        [upload] = self.uploads()
        parts = self.bucket.list_parts(
            Bucket=self.direct.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )["Parts"]
        self.assertEqual([PART] * 3, [part["Size"] for part in parts])
        self.assertFalse(self.has(digest))
        self.assertEqual(0, self.proxy.count("COMPLETE"))
        gate.callback(None)
        self.assertTrue((await response.done).body == data)
        await self.idle()
        self.assertTrue(self.content(digest) == data)
        self.assertEqual([], self.uploads())
        counted = [self.proxy.count(kind) for kind in ("BEGIN", "PART", "COMPLETE", "ABORT")]
        self.assertEqual([1, 4, 1, 0], counted)
        # What was sealed on the way is trusted, in one request.
        self.proxy.asked.clear()
        await self.start()
        self.proxy.asked.clear()
        self.assertTrue((await self.client.get(path)).body == data)
        # Of other objects, which the daemon asks for at its start, there may be some.
        self.assertEqual(0, self.proxy.count("HEAD", self.key(digest)))

    @running
    async def test_wrong_digest_of_one_host(self) -> None:
        """The parts of a wrong blob go when the next host is asked, and the right one is stored."""
        digest, data, path = self.blob(17 * BIT)
        gate: Deferred[None] = Deferred()
        wrong = Reply(body=data[:-1] + b"?", hold=gate, hold_at=len(data) - 1)
        self.registry.script("/blobs/", wrong)
        second = self.another()
        second.add_blob(data)
        hosts = (self.registry.host, second.host)
        await self.start(self.upstream("docker.io", hosts=hosts))
        response = await self.client.begin(path)
        await until(lambda: self.proxy.count("PART") == 3 and not self.proxy.under_way["PART"])
        gate.callback(None)
        await response.done
        self.assertTrue(response.complete)
        self.assertTrue(response.body == data)
        await self.idle()
        self.assertTrue(self.content(digest) == data)
        self.assertEqual([], self.uploads())
        counted = [self.proxy.count(kind) for kind in ("BEGIN", "COMPLETE", "ABORT")]
        self.assertEqual([2, 1, 1], counted)

    @running
    async def test_wrong_digest(self) -> None:
        """A blob with another digest leaves no object and no upload."""
        _, data, path = self.blob(12 * BIT)
        self.registry.script("/blobs/", Reply(body=data[:-1] + bytes([data[-1] ^ 1])))
        await self.start()
        response = await self.client.get(path)
        self.assertFalse(response.complete)
        await self.idle()
        self.assertEqual(1, self.proxy.count("ABORT"))
        self.assertEqual(0, self.proxy.count("COMPLETE"))
        self.nothing_left()

    @running
    async def test_upstream_breaks_off(self) -> None:
        """A body that ends too early leaves no object and no upload."""
        _, data, path = self.blob(12 * BIT)
        self.registry.script("/blobs/", Reply(body=data, cut=11 * BIT))
        await self.start(on=self.time)
        self.assertFalse((await self.time.hurry(self.client.get(path))).complete)
        await self.idle()
        self.nothing_left()

    @running
    async def test_client_that_leaves(self) -> None:
        """A client that leaves stops nothing: the object is completed for the next."""
        digest, data, path = self.blob(12 * BIT)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=6 * BIT))
        await self.start()
        await (await self.client.begin(path, leave_at=1)).done
        gate.callback(None)
        await until(lambda: self.has(digest))
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_stopped_in_the_middle(self) -> None:
        """A daemon that is stopped leaves neither an object nor an upload of what was not complete."""
        _, data, path = self.blob(12 * BIT)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=11 * BIT))
        await self.start(grace=0.0)
        await self.client.begin(path)
        await until(lambda: self.proxy.count("PART") == 2 and not self.proxy.under_way["PART"])
        self.assertEqual(1, len(self.uploads()))
        await self.stop()
        self.nothing_left()

    @running
    async def test_stopped_while_giving_up(self) -> None:
        """A daemon that is stopped waits until the upload of a wrong blob is given up."""
        _, data, path = self.blob(12 * BIT)
        wrong = data[:-1] + bytes([data[-1] ^ 1])
        sent: Deferred[None] = Deferred()
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=wrong, hold=sent, hold_at=len(data) - 1))
        self.proxy.script("PART", held(gate))
        await self.start()
        response = await self.client.begin(path)
        await until(lambda: self.proxy.under_way["PART"] == self.limits.uploads.parallel)
        sent.callback(None)
        self.assertFalse((await response.done).complete)
        stopping = Deferred.fromCoroutine(self.stop())
        gate.callback(None)
        await stopping
        self.nothing_left()

    @running
    async def test_stopped_during_the_commit(self) -> None:
        """What has been received and verified is completed before the daemon is gone."""
        digest, data, path = self.blob(12 * BIT)
        gate: Deferred[None] = Deferred()
        self.proxy.script("COMPLETE", held(gate))
        await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await until(lambda: self.proxy.count("COMPLETE") == 1)
        stopping = Deferred.fromCoroutine(self.stop())
        gate.callback(None)
        await stopping
        self.assertTrue(self.content(digest) == data)

    @running
    async def test_unknown_length(self) -> None:
        """A blob whose length nobody told is uploaded too, once it is complete."""
        digest, data, path = self.blob(12 * BIT)
        self.registry.script("/blobs/", Reply(body=data, chunked=True))
        await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await self.idle()
        self.assertTrue(self.content(digest) == data)
        await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_slow_server(self) -> None:
        """A bucket that takes nothing yet keeps no client waiting for the blob."""
        digest, data, path = self.blob(30 * BIT)
        gate: Deferred[None] = Deferred()
        self.proxy.script("PART", held(gate))
        await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await until(lambda: self.proxy.under_way["PART"] == self.limits.uploads.parallel)
        # While it is not in the bucket, it is served from the spool.
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(self.limits.uploads.parallel, self.proxy.count("PART"))
        gate.callback(None)
        await until(lambda: self.has(digest))
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_server_dies_during_the_upload(self) -> None:
        """The client gets all; nothing of the blob is served later but the whole of it."""
        digest, data, path = self.blob(12 * BIT)
        await self.start()
        for kind in ("BEGIN", "PART", "COMPLETE"):
            self.proxy.unscript()
            self.proxy.script(kind, closed)
            self.assertTrue((await self.client.get(path)).body == data, kind)
            await self.idle()
            self.assertFalse(self.has(digest), kind)
            self.clock.ahead += 60
        self.proxy.unscript()
        await self.usable()
        self.assertTrue((await self.client.get(path)).body == data)
        await self.idle()
        self.assertTrue(self.content(digest) == data)

    @running
    async def test_answer_to_complete_is_lost(self) -> None:
        """The server has completed the object, but its answer is lost: there it is, once."""
        digest, data, path = self.blob(12 * BIT)
        once = iter((lost,))

        async def first_lost(asked: Any, forward: Any) -> Reply | None:
            return await next(once, _pass)(asked, forward)

        self.proxy.script("COMPLETE", first_lost)
        daemon = await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await self.idle()
        self.assertEqual(2, self.proxy.count("COMPLETE"))
        self.assertTrue(self.content(digest) == data)
        self.assertEqual([], self.uploads())
        self.assertEqual(0, self.metric(daemon, "oci_registry_store_failing", doing="written"))
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_refused_part(self) -> None:
        """A part that is refused for good: the client gets all, and the upload is given up."""
        _, data, path = self.blob(12 * BIT)
        self.proxy.script("PART", refusal(403, "QuotaExceeded"))
        daemon = await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await self.idle()
        self.nothing_left()
        self.assertEqual(1, self.metric(daemon, "oci_registry_store_failing", doing="written"))


async def _pass(asked: Any, forward: Any) -> Reply:
    reply: Reply = await forward()
    return reply
