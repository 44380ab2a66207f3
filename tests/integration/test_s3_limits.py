"""A bucket with a limit, which one of its replicas keeps."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from oci_registry.account.account import AccountLimits
from oci_registry.config.settings import UpstreamSettings
from oci_registry.eviction.limit import HIGH, LimitTimes
from oci_registry.management.notices import KEPT, NOTICES
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.drivers.s3.driver import LIMITER
from tests.support.daemon import reactor, running, until
from tests.support.fake_replies import Asked, Reply
from tests.support.patterns import noise
from tests.support.s3_daemon import BucketTestCase
from tests.support.s3_proxy import Forward

MIB = 2**20
CAP = 6 * MIB
LAYER = 400_000
CHANCE = random.Random(1)


class BucketLimit(BucketTestCase):
    """Daemons that look at a bucket more often than usual."""

    account_limits = AccountLimits(interval=0.02, comparison=1.0)
    # On a busy machine a pull waits for long until others are evicted.
    limit_times = LimitTimes(patience=60.0, watch=0.1, claim=0.2, recorded=1.0)
    timeout = 240

    def setUp(self) -> None:
        super().setUp()
        self.images: dict[int, tuple[Digest, list[Digest]]] = {}

    async def begin(self, *upstreams: UpstreamSettings, **settings: Any) -> Daemon:
        chosen = upstreams or (self.upstream("docker.io"),)
        return await self.start(*chosen, max_size=parse_size("6MiB"), **settings)

    async def complete(self, daemon: Daemon) -> None:
        """Wait until a daemon is the one that keeps the limit."""
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.is_complete)

    async def pull(
        self, number: int, size: int = 2 * LAYER, repository: str = "library/app"
    ) -> None:
        """Pull an image as clients do."""
        if number not in self.images:
            base = noise(number // 5, LAYER)
            own = noise(CHANCE.getrandbits(64), size)
            self.images[number] = self.registry.add_image(repository, str(number), base, own)
        digest, blobs = self.images[number]
        for path in (f"manifests/{number}", f"manifests/{digest}", *(f"blobs/{b}" for b in blobs)):
            got = await self.client.get(f"/v2/{repository}/{path}")
            self.assertEqual((200, True), (got.status, got.complete), path)

    async def gone(self, reference: object) -> None:
        """Wait until an image is not served any more."""
        path = f"/v2/library/app/manifests/{reference}"
        while (await self.client.get(path)).status == 200:
            await deferLater(reactor, 0.1)

    def taken(self) -> int:
        """Return the bytes of all objects."""
        pages = self.bucket.get_paginator("list_objects_v2").paginate(Bucket=self.direct.bucket)
        return sum(item["Size"] for page in pages for item in page.get("Contents", ()))

    async def shrunk(self) -> None:
        """Wait until the bucket is below its limit."""
        while self.taken() > CAP:
            await deferLater(reactor, 0.1)

    def tags(self, repository: str = "library/app") -> set[int]:
        pages = self.keys(f"repositories/docker.io/{repository}/_tags/")
        return {int(key.rpartition("/")[2]) for key in pages}

    async def rest(self, daemon: Daemon) -> None:
        """Wait until everything is stored, what is not whole was removed, and nothing more is evicted."""
        limit, account = daemon.parts.limit, daemon.parts.account
        assert limit is not None
        assert account is not None
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        await until(lambda: not limit._missing)
        if account.is_complete:
            # What the other replica has stored is evicted only after a comparison that finds it.
            await account.compare()
            await until(lambda: limit.use.room(HIGH) >= 0)
        await until(lambda: not len(limit._evicting))

    @running
    async def test_filled(self) -> None:
        """The only replica keeps the limit, no pull fails, and what is left is complete."""
        daemon = await self.begin()
        await self.complete(daemon)
        numbers = iter(range(12))

        async def client() -> None:
            for number in numbers:
                await self.pull(number)
                self.assertLessEqual(self.taken(), CAP)

        await gatherResults([Deferred.fromCoroutine(client()) for _ in range(2)])
        await self.rest(daemon)
        self.assertGreater(self.taken(), CAP // 3)
        self.assertGreater(self.metric(daemon, "oci_registry_evicted_bytes_total") or 0, 0)
        await self.registry.stop()
        left = self.tags()
        self.assertGreater(len(left), 1)
        for number in left:
            await self.pull(number)

    @running
    async def test_newest_tags(self) -> None:
        """The newest tags go last, whichever replica has stored them, and whichever keeps the limit."""
        upstream = self.upstream("docker.io", keep_newest_tags=1)
        first = await self.begin(upstream)
        await self.complete(first)
        second = await self.begin(upstream, storage=evolve(self.storage, spool=self.mktemp()))
        await self.pull(2, LAYER // 4, "library/kept")
        await self.idle()
        await until(lambda: not len(second.parts.records))
        self.daemons.remove(first)
        await first.stopService()
        await self.complete(second)
        for number in range(100, 109):
            await self.pull(number)
        await self.shrunk()
        await self.rest(second)
        self.assertLess(len(self.tags()), 8)
        self.assertEqual({2}, self.tags("library/kept"))

    @running
    async def test_two_replicas(self) -> None:
        """One replica keeps the limit for both; if it stops, the other does."""
        first = await self.begin()
        await self.complete(first)
        second = await self.begin(storage=evolve(self.storage, spool=self.mktemp()))
        for number in range(8):
            await self.pull(number)
        # All by the second one, which reserves nothing.
        limits = first.parts.limit, second.parts.limit
        assert limits[0] is not None
        assert limits[1] is not None
        self.assertFalse(limits[1]._account.is_complete)
        await self.shrunk()
        self.daemons.remove(first)
        await first.stopService()
        await self.complete(second)
        self.assertEqual(1, len(self.keys(LIMITER)))
        for number in range(100, 104):
            await self.pull(number)
        await self.shrunk()
        await self.rest(second)
        self.assertGreater(self.metric(second, "oci_registry_evicted_bytes_total") or 0, 0)

    @running
    async def test_others_learn(self) -> None:
        """Within a second no other replica serves an evicted image from memory, and that costs few requests."""
        about_notices: Counter[str] = Counter()

        async def counted(asked: Asked, forward: Forward) -> Reply | None:
            about_notices[asked.method] += 1
            return await forward()

        self.proxy.script("*", counted, NOTICES)
        first = await self.begin()
        await self.complete(first)
        second = await self.begin(storage=evolve(self.storage, spool=self.mktemp()))
        for number in range(8):
            # Twice, so that the second replica has a ready answer.
            await self.pull(number)
            await self.pull(number)
        await self.shrunk()
        for daemon in (second, first):
            await self.rest(daemon)
        await self.registry.stop()
        written = len(self.keys(f"{NOTICES}/"))
        self.assertGreater(written, 0)
        left = self.tags()
        self.assertGreater(len(left), 1)
        # All at once, since each waits for the registry.
        evicted = self.images.keys() - left
        references = [r for number in evicted for r in (number, self.images[number][0])]
        await gatherResults([Deferred.fromCoroutine(self.gone(r)) for r in references])
        for number in left:
            await self.pull(number)
        # Each is read by the other replica alone, once, and all are removed after a minute.
        self.assertLessEqual(written, 8 - len(left))
        self.assertEqual({"PUT": written, "GET": written}, dict(about_notices))
        self.clock.ahead += KEPT
        while self.keys(f"{NOTICES}/"):
            await deferLater(reactor, 0.1)

    @running
    async def test_too_large(self) -> None:
        """A blob larger than a quarter of the limit is not stored, by any replica."""
        daemon = await self.begin()
        await self.pull(1, CAP // 4 + 1)
        await self.idle()
        self.assertEqual(
            1, self.metric(daemon, "oci_registry_not_stored_total", reason="too_large")
        )

    @running
    async def test_claim(self) -> None:
        """The replica that has the claim keeps it, and others get it when it is given up."""
        first = (await self.start()).parts.driver
        second = (await self.start()).parts.driver
        self.assertTrue(await first.hold())
        self.assertEqual([True, False], [await first.hold(), await second.hold()])
        await first.release()
        self.assertEqual([True, False], [await second.hold(), await first.hold()])

    @running
    async def test_no_limit(self) -> None:
        """Without a limit nobody claims anything, and there is no account."""
        daemon = await self.start(self.upstream("docker.io"))
        self.assertEqual((None, None), (daemon.parts.account, daemon.parts.limit))
