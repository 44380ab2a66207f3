"""The sweep of a bucket that several daemons use."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from attrs import evolve
from twisted.internet.defer import gatherResults
from twisted.logger import LogLevel

from oci_registry.config.settings import DEFAULT_INVALIDATION_TIME
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3 import driver, leftovers
from tests.support.daemon import running
from tests.support.fake_registry import Reply
from tests.support.s3_daemon import BucketTestCase
from tests.support.s3_proxy import Forward, refusal


class Sweeping(BucketTestCase):
    """Time is put forward, and sweeps are asked for."""

    def other_blob(self, number: int) -> tuple[Digest, str]:
        """Return a blob that upstream has, and its path."""
        digest = self.registry.add_blob(b"blob %d" % number * 100)
        return digest, f"/v2/library/app/blobs/{digest}"

    async def pull(self, *paths: str) -> None:
        """Get blobs, and wait until they are stored."""
        for path in paths:
            self.assertEqual(200, (await self.client.get(path)).status)
        await self.idle()

    async def sweep(self, daemon: Daemon) -> None:
        """Sweep, as if the last time were long ago."""
        self.bucket.delete_object(Bucket=self.direct.bucket, Key=driver.SWEEPER)
        await daemon.parts.sweep.run()

    @running
    async def test_unused_blobs_go(self) -> None:
        """What has not been used for longer than its lifetime goes, many in one request."""
        made = [self.other_blob(number) for number in range(25)]
        daemon = await self.start()
        await self.pull(*(path for _, path in made))
        self.clock.ahead += DEFAULT_INVALIDATION_TIME - 60
        await self.sweep(daemon)
        self.assertEqual(25, len(self.keys("blobs")))
        await self.pull(made[0][1])
        self.clock.ahead += 120
        self.proxy.asked.clear()
        await self.sweep(daemon)
        self.assertEqual({self.key(made[0][0])}, self.keys("blobs"))
        batches = [a.body.count(b"blobs/") for a in self.proxy.matching("DELETE-MANY")]
        self.assertEqual(([24], 0), ([n for n in batches if n], self.proxy.count("DELETE")))
        self.assertEqual(24, self.metric(daemon, "oci_registry_swept_total", kind="blob"))

    @running
    async def test_server_without_batches(self) -> None:
        """A server that cannot remove many at once removes one after the other."""
        made = [self.other_blob(number) for number in range(5)]
        daemon = await self.start()
        await self.pull(*(path for _, path in made))
        self.clock.ahead += DEFAULT_INVALIDATION_TIME + 60
        self.proxy.script("DELETE-MANY", refusal(501, "NotImplemented"))
        await self.sweep(daemon)
        self.assertEqual(set(), self.keys("blobs"))

    @running
    async def test_what_another_uses_stays(self) -> None:
        """A use that one daemon has written down keeps the blob in another's sweep."""
        (used, path), (unused, other) = self.other_blob(1), self.other_blob(2)
        first = await self.start()
        await self.pull(path, other)
        second = await self.start()
        self.clock.ahead += DEFAULT_INVALIDATION_TIME - 3600
        await self.pull(path)
        await second.parts.driver._journal.flush()
        self.clock.ahead += 7200
        await self.sweep(first)
        self.assertEqual({self.key(used)}, self.keys("blobs"))
        self.assertFalse(self.has(unused))
        # What several have written down is one object afterwards, and still counts.
        logs = self.keys("usage/log")
        self.assertEqual(1, len(logs), logs)
        await self.sweep(second)
        third = await self.start()
        await self.sweep(third)
        self.assertEqual({self.key(used)}, self.keys("blobs"))

    @running
    async def test_uses_survive_a_restart(self) -> None:
        """A daemon that is stopped writes down what was used until then."""
        digest, path = self.other_blob(1)
        await self.start()
        await self.pull(path)
        self.clock.ahead += DEFAULT_INVALIDATION_TIME - 3600
        await self.pull(path)
        await self.stop()
        self.clock.ahead += 7200
        await self.sweep(await self.start())
        self.assertTrue(self.has(digest))

    @running
    async def test_one_of_many_sweeps(self) -> None:
        """Of two daemons that want to sweep one does so, and none again before the interval is over."""
        daemons = [await self.start(), await self.start()]
        self.proxy.asked.clear()
        await gatherResults([daemon.parts.sweep.run() for daemon in daemons])
        self.assertEqual(1, self.proxy.count("UPLOADS"))
        for daemon in daemons:
            await daemon.parts.sweep.run()
        self.assertEqual(1, self.proxy.count("UPLOADS"))

    def list_five_at_once(self) -> None:
        """Let a page of the first daemon's listings hold five objects."""
        self.daemons[0].parts.driver.bucket.connection.writing.meta.events.register(
            "provide-client-params.s3.ListObjectsV2",
            lambda params, **_: {**params, "MaxKeys": 5},
        )

    @running
    async def test_long_listings(self) -> None:
        """A listing of many pages is followed to its end."""
        made = [self.other_blob(number) for number in range(23)]
        daemon = await self.start()
        await self.pull(*(path for _, path in made))
        self.clock.ahead += DEFAULT_INVALIDATION_TIME + 60
        self.list_five_at_once()
        await self.sweep(daemon)
        self.assertEqual(set(), self.keys("blobs"))
        self.assertGreaterEqual(self.proxy.count("LIST"), 5)

    @running
    async def test_listing_that_breaks(self) -> None:
        """A listing that fails on its second page removes nothing, and the next sweep comes nevertheless."""
        made = [self.other_blob(number) for number in range(12)]
        daemon = await self.start()
        await self.pull(*(path for _, path in made))
        self.clock.ahead += DEFAULT_INVALIDATION_TIME + 60
        self.list_five_at_once()
        refuse = refusal(403, "AccessDenied")

        async def second_page(asked: object, forward: Forward) -> Reply | None:
            refused = "continuation-token" in asked.query and "blobs" in asked.query
            return await refuse(asked, forward) if refused else await forward()

        self.proxy.script("LIST", second_page)
        await self.sweep(daemon)
        self.assertEqual(12, len(self.keys("blobs")))
        [error] = self.said(LogLevel.error)
        self.assertIn("the sweep failed", error)
        self.proxy.unscript()
        await self.sweep(daemon)
        self.assertEqual(set(), self.keys("blobs"))

    @running
    async def test_abandoned_uploads(self) -> None:
        """An upload that a dead process left a day ago is aborted by the sweep, a younger one is not."""
        daemon = await self.start()

        async def dated(asked: object, forward: Forward) -> Reply:
            # The server of the tests has all uploads begin in 2010.
            reply = await forward()
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
            body = re.sub(b"<Initiated>.*?<", b"<Initiated>" + now + b"<", reply.body)
            return Reply(reply.status, body, {"content-type": "application/xml"})

        self.proxy.script("UPLOADS", dated)
        for name in ("blobs/sha256/ab/cd", "elsewhere/of/others"):
            self.bucket.create_multipart_upload(Bucket=self.direct.bucket, Key=name)
        await self.sweep(daemon)
        self.assertEqual(2, len(self.uploads()))
        self.clock.ahead += leftovers.ABANDONED + 60
        await self.sweep(daemon)
        self.assertEqual([], self.uploads())
        self.assertIn("removed 2 abandoned uploads", self.said(LogLevel.info))

    @running
    async def test_uploads_beside_the_prefix(self) -> None:
        """Uploads that are not below our prefix are none of our business."""
        daemon = await self.start(storage=evolve(self.storage, prefix="ours"))
        for name in ("ours/blobs/x", "oursnot/blobs/x", "theirs"):
            self.bucket.create_multipart_upload(Bucket=self.direct.bucket, Key=name)
        self.clock.ahead += leftovers.ABANDONED + 60
        await daemon.parts.sweep.run()
        keys = {upload["Key"] for upload in self.uploads()}
        self.assertEqual({"oursnot/blobs/x", "theirs"}, keys)

    @running
    async def test_old_bucket_of_another_program(self) -> None:
        """What was there before us counts as used when we began, in every daemon's sweep."""
        digest, path = self.other_blob(1)
        self.place(digest, self.registry.blobs[str(digest)])
        await self.start()
        self.clock.ahead += DEFAULT_INVALIDATION_TIME - 60
        await self.sweep(await self.start())
        self.assertTrue(self.has(digest))
        await self.pull(path)
        self.assertEqual(0, self.registry.count("/blobs/"))
