"""A bucket that is slow, overloaded, or lacks a part of S3: what clients notice, and what is uploaded."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel

from oci_registry.pullthrough.transfer import Phase
from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3.limits import PieceLimits, ReadLimits, S3Limits, UploadLimits
from oci_registry.storage.guard import StoreLimits
from tests.support.daemon import PATIENT, reactor, running, until
from tests.support.fake_replies import Asked, Reply, Trickle
from tests.support.patterns import noise
from tests.support.s3 import PART
from tests.support.s3_daemon import MIB, PATIENT_READS, BucketTestCase
from tests.support.s3_proxy import Forward, Script, kind_of, refusal


def sometimes(script: Script, percent: int, seed: int = 1) -> Script:
    """Let *script* answer so many of a hundred requests, the server all others."""
    random = Random(seed)

    async def chosen(asked: Asked, forward: Forward) -> Reply | None:
        if random.randrange(100) < percent:
            return await script(asked, forward)
        return await forward()

    return chosen


def trickling(rate: int) -> Script:
    """Send bodies at so many bytes per second."""

    async def script(asked: Asked, forward: Forward) -> Reply:
        piece = max(1, rate // 10)
        return evolve(await forward(), trickle=Trickle(0, 0.1, 10**9, piece))

    return script


class SlowdownTestCase(BucketTestCase):
    """Blobs that upstream has."""

    limits = S3Limits(uploads=UploadLimits(part=PART))
    store_limits = StoreLimits()

    def blob(self, size: int, seed: int) -> tuple[Digest, bytes, str]:
        """Return a blob that upstream has, and its path."""
        data = noise(seed, size)
        digest = self.registry.add_blob(data)
        return digest, data, f"/v2/library/app/blobs/{digest}"

    def stored(self, size: int, seed: int) -> tuple[Digest, bytes, str]:
        """Return a blob that is in the bucket, too."""
        digest, data, path = self.blob(size, seed)
        self.place(digest, data, Metadata={"oci-registry-size": str(size)})
        return digest, data, path


class SlowDown(SlowdownTestCase):
    """The server asks to slow down; no deadline is missed, however busy the machine is."""

    timeout = 120
    limits = S3Limits(
        uploads=UploadLimits(part=PART),
        reads=evolve(PATIENT_READS, pause=0.01),
    )
    store_limits = PATIENT

    @running
    async def test_one_in_ten(self) -> None:
        """With a 503 for a tenth of all requests hits stay hits, and nothing is uploaded twice."""
        stored = [self.stored(20_000, seed) for seed in range(30)]
        new = [self.blob(20_000, seed) for seed in range(1000, 1010)] + [
            self.blob(2 * PART + 1000, 7)
        ]
        await self.start()
        self.proxy.script("*", sometimes(refusal(503, "SlowDown"), 10))
        for _ in range(2):
            for _, data, path in stored:
                got = await self.client.get(path)
                self.assertEqual((200, data), (got.status, bytes(got.body)))
        upstream = sum(self.registry.count(str(digest)) for digest, _, _ in stored)
        self.assertLess(upstream, 0.02 * 2 * len(stored))
        for _, _, path in new:
            self.assertEqual(200, (await self.client.get(path)).status)
        await self.idle()
        self.proxy.unscript()
        for digest, data, _ in new:
            self.assertTrue(self.content(digest) == data)
            self.assertEqual(1, self.registry.count(str(digest)))
        self.assertEqual([], self.uploads())
        self.assertEqual([], [text for text in self.said(LogLevel.error) if "pulls go on" in text])

    @running
    async def test_what_is_there_is_not_uploaded_again(self) -> None:
        """When reads alone fail, blobs come from upstream, and what is in the bucket stays as it is."""
        stored = [self.stored(size, size) for size in (1000, 5 * PART // 2)]
        await self.start()

        async def no_blobs(asked: Asked, forward: Forward) -> Reply | None:
            return await refusal(503, "SlowDown")(asked, forward)

        self.proxy.script("GET", no_blobs, "blobs")
        self.proxy.asked.clear()
        for _, data, path in stored:
            self.assertTrue((await self.client.get(path)).body == data)
        await self.idle()
        kinds = Counter(kind_of(asked) for asked in self.proxy.asked if "blobs" in asked.path)
        self.assertEqual({"GET", "HEAD"}, set(kinds))

    @running
    async def test_a_cold_pull_looks_no_more_than_before(self) -> None:
        """A new blob costs a look and its upload, nothing else."""
        _, _, path = self.blob(1000, 1)
        large = self.blob(5 * PART // 2, 2)
        await self.start()
        for one, expected in ((path, ["GET", "PUT"]), (large[2], ["GET", "BEGIN", "COMPLETE"])):
            self.proxy.asked.clear()
            self.assertEqual(200, (await self.client.get(one)).status)
            await self.idle()
            kinds = [kind_of(asked) for asked in self.proxy.asked if kind_of(asked) != "PART"]
            self.assertEqual(expected, kinds)


class Slow(SlowdownTestCase):
    """The server trickles."""

    timeout = 120

    @running
    async def test_trickle(self) -> None:
        """At 1 kB/s a blob comes from upstream within seconds; so does the rest of one that slows down."""
        digest, data, path = self.stored(3 * MIB, 1)
        daemon = await self.start()
        self.proxy.script("GET", trickling(1000), "blobs")
        began = reactor.seconds()
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertLess(reactor.seconds() - began, 12.0)
        self.assertEqual(1, self.registry.count(str(digest)))
        await self.idle()
        lookup: Any = daemon.parts.lanes.lookup
        await until(lambda: not lookup._pool.working)

    @running
    async def test_two_megabits(self) -> None:
        """At 2 Mbit/s the first bytes are there after the second or two that a small piece takes."""
        rate, reads = 250_000, ReadLimits()
        self.assertLess(PieceLimits().first / rate, reads.first_deadline)
        self.limits = S3Limits(reads=PATIENT_READS)
        digest, data, path = self.stored(MIB, 2)
        await self.start()
        self.proxy.script("GET", trickling(rate), "blobs")
        response = await self.client.get(path)
        self.assertTrue(response.body == data)
        first = self.proxy.matching("GET", "blobs")[0].headers["range"]
        self.assertEqual(f"bytes=0-{PieceLimits().first - 1}", first)
        self.assertEqual(0, self.registry.count(str(digest)))

    @running
    async def test_requests_of_a_large_blob(self) -> None:
        """A small first piece costs a large blob few requests more."""
        # A sixteenth of everything, so that it is 100 MiB to the real ones.
        default = PieceLimits()
        pieces = PieceLimits(
            budget=default.budget // 16,
            first=default.first // 16,
            largest=default.largest // 16,
            smallest=default.smallest // 16,
        )
        self.limits = S3Limits(pieces=pieces, reads=PATIENT_READS)
        _, _, path = self.stored(100 * MIB // 16, 3)
        await self.start()
        got = await (await self.client.begin_hashed(path)).done
        self.assertTrue(got.complete)
        self.assertLessEqual(self.proxy.count("GET", "blobs"), 18)


class Lacking(SlowdownTestCase):
    """Servers that know only a part of S3."""

    def warnings(self, words: str) -> list[str]:
        """Return the warnings that say so."""
        return [text for text in self.said(LogLevel.warn) if words in text]

    @running
    async def test_no_uploads_in_parts(self) -> None:
        """Large blobs are uploaded in one request each; that is logged once."""
        blobs = [self.blob(5 * PART // 2, seed) for seed in range(3)]
        self.proxy.script("BEGIN", refusal(501, "NotImplemented"))
        await self.start()
        for _, data, path in blobs:
            self.assertTrue((await self.client.get(path)).body == data)
            # What is pulled before the first refusal comes asks too.
            await self.idle()
        for digest, data, _ in blobs:
            self.assertTrue(self.content(digest) == data)
        self.assertEqual(1, self.proxy.count("BEGIN"))
        self.assertEqual(1, len(self.warnings("the server does not support multipart uploads")))

    @running
    async def test_late_refusal_of_uploads_in_parts(self) -> None:
        """A blob that has arrived before the refusal does is not uploaded in parts once more."""
        digest, data, path = self.blob(5 * PART // 2, 1)
        arrived: Deferred[None] = Deferred()

        async def refuse_late(asked: Asked, forward: Forward) -> Reply | None:
            await arrived
            return await refusal(501, "NotImplemented")(asked, forward)

        self.proxy.script("BEGIN", refuse_late)
        daemon = await self.start()
        self.assertTrue((await self.client.get(path)).body == data)
        await until(
            lambda: [one.phase for one in daemon.parts.transfers._all] == [Phase.COMMITTING]
        )
        arrived.callback(None)
        await self.idle()
        self.assertTrue(self.content(digest) == data)
        self.assertEqual(1, self.proxy.count("BEGIN"))

    @running
    async def test_no_listing_of_uploads(self) -> None:
        """The sweep continues without it; that is logged once, when the daemon starts."""
        digest, _, path = self.blob(1000, 1)
        self.proxy.script("UPLOADS", refusal(403, "AccessDenied"))
        daemon = await self.start()
        self.assertEqual(1, len(self.warnings("cannot list unfinished uploads")))
        await self.client.get(path)
        await self.idle()
        for _ in range(2):
            self.clock.ahead += 40 * 86400
            await daemon.parts.sweep.run()
        self.assertFalse(self.has(digest))
        self.assertEqual(1, len(self.warnings("cannot list unfinished uploads")))
        self.assertEqual([], self.said(LogLevel.error))

    @running
    async def test_links_where_nothing_can_be_read(self) -> None:
        """Nobody is sent to an object that may be seen but not read: it comes from upstream."""
        _, data, path = self.stored(1000, 1)
        await self.start(storage=evolve(self.storage, redirect=True))
        self.proxy.script("GET", refusal(403, "AccessDenied"), "blobs")
        for _ in range(2):
            got = await self.client.get(path)
            self.assertEqual((200, data), (got.status, bytes(got.body)))
        await self.idle()
        self.proxy.unscript()
        self.assertEqual(307, (await self.client.get(path)).status)

    @running
    async def test_many_at_once_while_reads_hang(self) -> None:
        """Ten pulls of blobs that the server never sends get theirs from upstream."""
        stored = [self.stored(1000, seed) for seed in range(10)]
        await self.start()
        self.proxy.script("GET", trickling(1), "blobs")
        got = await gatherResults(
            [Deferred.fromCoroutine(self.client.get(path)) for _, _, path in stored]
        )
        self.assertTrue(
            all(one.body == data for one, (_, data, _) in zip(got, stored, strict=True))
        )
