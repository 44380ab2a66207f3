"""Several daemons on one bucket at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.storage.drivers.s3.limits import S3Limits, UploadLimits
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.s3 import PART
from tests.support.s3_daemon import MIB, PATIENT_READS, BucketTestCase
from tests.support.s3_proxy import refusal


class Replicas(BucketTestCase):
    """Two of them download the same blob, unaware of each other."""

    limits = S3Limits(uploads=UploadLimits(part=PART), reads=PATIENT_READS)

    async def both(self, size: int) -> tuple[Any, bytes]:
        """Let two daemons get a blob at once; return its digest and bytes."""
        data = noise(size, size)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script(str(digest), Reply(body=data, hold=gate, hold_at=size - 1))
        responses = []
        for _ in range(2):
            await self.start()
            responses.append(await self.client.begin(f"/v2/library/app/blobs/{digest}"))
        await until(lambda: self.registry.count(str(digest)) == 2)
        gate.callback(None)
        for response in responses:
            self.assertTrue((await response.done).body == data)
            self.assertTrue(response.complete)
        await self.idle()
        self.assertTrue(self.content(digest) == data)
        self.assertEqual([], self.uploads())
        for daemon in self.daemons:
            self.assertEqual(0, self.metric(daemon, "oci_registry_store_failing", doing="written"))
        return digest, data

    @running
    async def test_small_blob(self) -> None:
        """Both clients get it, and it is written once."""
        digest, _ = await self.both(100_000)
        writes = self.proxy.matching("PUT", self.key(digest))
        self.assertEqual(["*"] * len(writes), [w.headers.get("if-none-match") for w in writes])
        seal = self.bucket.head_object(Bucket=self.direct.bucket, Key=self.key(digest))
        self.assertEqual({"oci-registry-size": "100000"}, seal["Metadata"])

    @running
    async def test_large_blob(self) -> None:
        """Both upload it in parts; one upload becomes the object, of the other nothing is left."""
        digest, _ = await self.both(5 * PART // 2)
        self.assertEqual(2, self.proxy.count("BEGIN", self.key(digest)))
        seal = self.bucket.head_object(Bucket=self.direct.bucket, Key=self.key(digest))
        self.assertEqual({"oci-registry-size": str(5 * PART // 2)}, seal["Metadata"])

    @running
    async def test_server_without_conditions(self) -> None:
        """A server that does not know of conditions is asked without, from then on."""
        refuse = refusal(501, "NotImplemented")

        async def unconditional(asked: Any, forward: Any) -> Reply | None:
            if "if-none-match" in asked.headers:
                return await refuse(asked, forward)
            reply: Reply = await forward()
            return reply

        self.proxy.script("*", unconditional)
        await self.both(100_000)
        await self.both(5 * PART // 2)
        conditions = sum("if-none-match" in asked.headers for asked in self.proxy.asked)
        self.assertLessEqual(conditions, 8)
        daemon = self.daemons[-1]
        before = conditions
        digest = self.registry.add_blob(b"more" * 1000)
        self.registry.unscript()
        await self.client.get(f"/v2/library/app/blobs/{digest}")
        await until(lambda: self.has(digest) and not daemon.parts.transfers._all)
        self.assertEqual(before, sum("if-none-match" in a.headers for a in self.proxy.asked))

    @running
    async def test_wrong_object_of_another(self) -> None:
        """What another daemon's upload replaces in the meantime is not taken for ours unless it is whole."""
        data = noise(7, MIB)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=len(data) - 1))
        await self.start()
        response = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await until(lambda: self.registry.count("/blobs/") == 1)
        self.place(digest, data[:-1])
        gate.callback(None)
        await response.done
        await until(lambda: not self.daemons[0].parts.transfers._all)
        self.assertTrue(self.content(digest) == data)

    @running
    async def test_deleted_by_another(self) -> None:
        """A blob that another daemon removes while it is sent comes to its end, from upstream."""
        data = noise(8, 18 * MIB)
        digest = self.registry.add_blob(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(len(data))})
        await self.start()
        response = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await response.got_headers
        response.pause()
        self.bucket.delete_object(Bucket=self.direct.bucket, Key=self.key(digest))
        response.resume()
        self.assertTrue((await response.done).body == data)
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_replaced_by_another(self) -> None:
        """A blob that is replaced while it is sent is read no further: upstream has the rest."""
        data = noise(9, 18 * MIB)
        digest = self.registry.add_blob(data)
        seal = {"oci-registry-size": str(len(data))}
        self.place(digest, bytes(len(data) - MIB) + data[-MIB:], Metadata=seal)
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        response = await self.client.begin(path)
        await response.got_headers
        response.pause()
        self.place(digest, data, Metadata=seal)
        response.resume()
        await response.done
        spans = self.proxy.matching("GET", self.key(digest))
        self.assertGreater(len(spans), 1)
        self.assertTrue(all("if-match" in asked.headers for asked in spans[1:]))
        self.assertEqual(1, self.registry.count("/blobs/"))
        body = bytes(response.body)
        read = len(body) - len(body.lstrip(b"\0"))
        self.assertTrue(0 < read < len(data) - MIB and body[read:] == data[read:], read)
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(1, self.registry.count("/blobs/"))
