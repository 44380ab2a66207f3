"""Clients that do not read: what they hold of memory, threads and connections."""

from __future__ import annotations

from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3.limits import PieceLimits, S3Limits
from tests.support.client import Hashed, Response
from tests.support.daemon import running, until
from tests.support.patterns import noise
from tests.support.s3_daemon import MIB, PATIENT_READS, BucketTestCase


class Slow(BucketTestCase):
    """Blobs that are in the bucket, and clients that take nothing of them.

    No deadline is missed, however busy the machine is: upstream does not have these blobs.
    """

    timeout = 120

    async def stalled(self, size: int, seed: int) -> tuple[Digest, Response]:
        """Begin to get a blob, and read no more than its first bytes."""
        data = noise(seed, size)
        digest = Digest.of(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(size)})
        response = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        response.body = Hashed()
        await response.got_headers
        response.pause()
        return digest, response

    def check(self, digest: Digest, response: Response) -> None:
        """The response has arrived, with all bytes of a blob."""
        self.assertEqual((200, True), (response.status, response.complete))
        self.assertEqual(digest.encoded, response.body.sha256.hexdigest())

    async def quiet(self, daemon: Daemon) -> None:
        """Wait until no thread asks the bucket for more."""
        await until(lambda: not daemon.parts.lanes.lookup._pool.working)

    def held(self, daemon: Daemon) -> int:
        """Return the bytes that are in memory, and check that they are counted right."""
        kept = daemon.parts.driver.reader.pieces
        counted = sum(piece.stop - piece.start for piece in kept._recent)
        self.assertEqual(counted, kept.held)
        return int(counted)

    @running
    async def test_one(self) -> None:
        """It holds two pieces, and neither a thread nor a connection; others are not delayed."""
        daemon = await self.start()
        digest, response = await self.stalled(16 * MIB, 1)
        await self.quiet(daemon)
        self.assertLessEqual(self.held(daemon), 2 * self.limits.pieces.largest)
        self.assertLessEqual(self.proxy.count("GET", self.key(digest)), 5)
        for number in range(5):
            data = b"other %d" % number
            other = self.registry.add_blob(data)
            self.place(other, data, Metadata={"oci-registry-size": str(len(data))})
            self.assertEqual(200, (await self.client.get(f"/v2/x/blobs/{other}")).status)
        response.resume()
        await response.done
        self.check(digest, response)
        await until(lambda: not daemon.parts.driver.reader.pieces.held)

    @running
    async def test_many(self) -> None:
        """Ten of them, each with a blob of its own, stay within the budget; all get theirs in the end."""
        self.limits = S3Limits(
            pieces=PieceLimits(budget=8 * MIB, largest=2 * MIB), reads=PATIENT_READS
        )
        daemon = await self.start()
        stalled = []
        for seed in range(10):
            stalled.append(await self.stalled(4 * MIB, seed))
            self.assertLessEqual(
                self.held(daemon), self.limits.pieces.budget + self.limits.pieces.largest
            )
        await self.quiet(daemon)
        self.assertLessEqual(self.held(daemon), self.limits.pieces.budget)
        for _, response in stalled:
            response.resume()
        for digest, response in stalled:
            await response.done
            self.check(digest, response)
        await until(lambda: not daemon.parts.driver.reader.pieces.held)
        self.assertEqual(0, self.registry.count("/blobs/"))

    @running
    async def test_those_who_leave(self) -> None:
        """Nothing is kept for clients that have left, whenever they did."""
        daemon = await self.start()
        for seed in range(5):
            _, response = await self.stalled(8 * MIB, seed)
            response.close()
        await until(lambda: not daemon.parts.driver.reader.pieces.held)
        self.assertEqual({}, daemon.parts.driver.reader.pieces._objects)
        self.assertEqual(0, daemon.parts.driver.reader.pieces._count)

    @running
    async def test_a_slow_one_beside_a_fast_one(self) -> None:
        """A slow client of a blob slows no other of the same blob."""
        daemon = await self.start()
        digest, slow = await self.stalled(12 * MIB, 1)
        path = f"/v2/library/app/blobs/{digest}"
        for _ in range(3):
            fast = await (await self.client.begin_hashed(path)).done
            self.check(digest, fast)
        self.assertFalse(slow.complete)
        self.assertLessEqual(self.held(daemon), self.limits.pieces.budget)
        slow.resume()
        await slow.done
        self.check(digest, slow)
