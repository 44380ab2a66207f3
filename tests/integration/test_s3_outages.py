"""A bucket that fails, in every way and at every moment: pulls continue, and it is used again afterwards."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3.driver import CHECKED
from oci_registry.storage.drivers.s3.limits import PieceLimits, S3Limits, UploadLimits
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.s3_daemon import PATIENT_READS, BucketTestCase
from tests.support.s3_proxy import Forward, Script, closed, cut, held, refusal

BIT = 64 * 1024
"""What is asked for at least at once."""


class OutageTestCase(BucketTestCase):
    """An image that upstream has, and pulls of it; the bucket is asked again without long pauses."""

    limits = S3Limits(
        pieces=PieceLimits(budget=64 * BIT, first=BIT, largest=8 * BIT, smallest=BIT),
        reads=evolve(PATIENT_READS, pause=0.01),
        uploads=UploadLimits(attempts=1),
    )

    def setUp(self) -> None:
        super().setUp()
        self.manifest, self.blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)

    async def pull(self) -> None:
        """Get the image; everything must be right."""
        for path in ("manifests/1", f"manifests/{self.manifest}"):
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual((200, True), (got.status, got.complete), path)
            self.assertEqual(self.manifest, Digest.of(bytes(got.body)))
        for blob in self.blobs:
            got = await self.client.get(f"/v2/library/app/blobs/{blob}")
            self.assertEqual((200, True), (got.status, got.complete), str(blob))
            self.assertEqual(blob, Digest.of(bytes(got.body)))
        await self.idle()

    async def ready(self) -> int:
        """Return the status of the check."""
        return (await self.client.get("/readyz")).status

    def failing(self, daemon: Daemon) -> set[str]:
        """Return what the store is said to fail at."""
        return {
            doing
            for doing in ("read", "written")
            if self.metric(daemon, "oci_registry_store_failing", doing=doing)
        }

    async def recovers(self, daemon: Daemon) -> None:
        """It is used again, by itself, as soon as a probe finds out that it answers."""
        await self.usable()
        self.clock.ahead += CHECKED + 1
        await self.pull()
        self.clock.ahead += CHECKED + 1
        await self.pull()
        for blob in self.blobs:
            self.assertTrue(self.has(blob))
        self.assertEqual(set(), self.failing(daemon))
        self.assertEqual(200, await self.ready())
        asked = self.registry.count("/blobs/")
        await self.pull()
        self.assertEqual(asked, self.registry.count("/blobs/"))


class Outages(OutageTestCase):
    """The server does not answer, or not well."""

    async def survives(self, daemon: Daemon) -> None:
        """Many pulls are right while nothing of the bucket can be had; it is said once."""
        for _ in range(3):
            await self.pull()
        self.assertEqual({"read", "written"}, self.failing(daemon))
        self.assertEqual(503, await self.ready())

    def errors(self) -> list[str]:
        """Return what was said about pulls that continue without the store."""
        return [text for text in self.said(LogLevel.error) if "pulls go on" in text]

    @running
    async def test_down_at_the_start(self) -> None:
        """With nobody listening the daemon starts, serves, and uses the bucket once it is there."""
        await self.proxy.down()
        self.working = False
        daemon = await self.start()
        await self.survives(daemon)
        self.assertEqual(2, len(self.errors()), self.errors())
        self.proxy.up()
        await self.recovers(daemon)
        again = [text for text in self.said(LogLevel.info) if "store can be" in text]
        self.assertEqual(2, len(again), again)

    @running
    async def test_answers_that_are_refusals(self) -> None:
        """Storms, wrong credentials, a bucket that is not there: pulls continue, the reason is told."""
        daemon = await self.start()
        for status, code, reason in (
            (503, "SlowDown", "slow down"),
            (500, "InternalError", "500"),
            (403, "InvalidAccessKeyId", "access key"),
            (403, "SignatureDoesNotMatch", "secret key"),
            (404, "NoSuchBucket", "bucket does not exist"),
        ):
            self.logged.clear()
            self.proxy.script("*", refusal(status, code))
            # What another pull has left is of no help now.
            for key in self.keys("blobs"):
                self.bucket.delete_object(Bucket=self.direct.bucket, Key=key)
            self.clock.ahead += CHECKED + 1
            await self.survives(daemon)
            self.assertIn(reason, " ".join(self.errors()), code)
            self.assertLessEqual(len(self.errors()), 2, self.errors())
            self.proxy.unscript()
            await self.recovers(daemon)

    @running
    async def test_writes_that_are_refused(self) -> None:
        """What is stored is served, and the daemon is ready and says that nothing new is stored."""
        await self.start()
        await self.pull()
        asked = self.registry.count("/blobs/")
        self.proxy.script("PUT", refusal(403, "AccessDenied"))
        self.clock.ahead += CHECKED + 1
        ready = await self.client.get("/readyz")
        said = bytes(ready.body).decode()
        self.assertEqual(200, ready.status)
        self.assertIn("ready, but nothing new is stored: ", said)
        self.assertIn("access is denied to these credentials", said)
        await self.pull()
        self.assertEqual(asked, self.registry.count("/blobs/"))

    @running
    async def test_nonsense(self) -> None:
        """What answers in no language of S3 is a store that fails, and no reason that a pull fails."""
        daemon = await self.start()
        for body in (b"<html>hello</html>", b"\0" * 100, b"", b"<a>" * 10_000):

            async def nonsense(asked: object, forward: Forward, body: bytes = body) -> Reply:
                return Reply(200, body, {"content-type": "text/html"})

            self.proxy.script("*", nonsense)
            self.clock.ahead += CHECKED + 1
            for _ in range(3):
                await self.pull()
            self.assertEqual(503, await self.ready())
            self.proxy.unscript()
            await self.recovers(daemon)
            for key in self.keys("blobs"):
                self.bucket.delete_object(Bucket=self.direct.bucket, Key=key)

    @running
    async def test_bucket_that_disappears(self) -> None:
        """A bucket that is removed, and made again, is used again."""
        daemon = await self.start()
        await self.pull()
        for key in self.keys():
            self.bucket.delete_object(Bucket=self.direct.bucket, Key=key)
        self.bucket.delete_bucket(Bucket=self.direct.bucket)
        self.clock.ahead += CHECKED + 1
        await self.pull()
        self.assertEqual({"read", "written"}, self.failing(daemon))
        self.assertEqual(503, await self.ready())
        self.bucket.create_bucket(Bucket=self.direct.bucket)
        await self.recovers(daemon)

    @running
    async def test_secrets_stay_secret(self) -> None:
        """Whatever goes wrong, neither the secret key nor a signature is logged."""
        storage = evolve(self.storage, secret_key="s3cr3t-never-shown", redirect=True)
        await self.start(storage=storage)
        for script in (
            closed,
            refusal(403, "SignatureDoesNotMatch"),
            refusal(500, "InternalError"),
        ):
            self.proxy.script("*", script)
            await self.pull()
            await self.ready()
            self.clock.ahead += CHECKED + 1
        everything = str(self.logged)
        self.assertNotIn("s3cr3t", everything)
        self.assertNotIn("Signature=", everything)


class Midway(OutageTestCase):
    """The server fails while a blob is sent or written."""

    async def stored(self, size: int) -> tuple[Digest, bytes, str]:
        """Return a blob that is in the bucket, and upstream."""
        data = noise(size, size)
        digest = self.registry.add_blob(data)
        self.place(digest, data, Metadata={"oci-registry-size": str(size)})
        return digest, data, f"/v2/library/app/blobs/{digest}"

    async def rest_from_upstream(self, *scripts: Script) -> None:
        """Let the server fail at everything but a blob's first piece, in each of the ways."""
        daemon = await self.start()
        for number, script in enumerate(scripts):
            digest, data, path = await self.stored(18 * BIT + number)

            async def later(
                asked: object, forward: Forward, script: Script = script
            ) -> Reply | None:
                first = "bytes=0-" in asked.headers.get("range", "")
                return await forward() if first else await script(asked, forward)

            self.proxy.script("*", later)
            response = await self.client.get(path)
            self.assertEqual((200, True), (response.status, response.complete))
            self.assertTrue(response.body == data)
            self.assertEqual(1, self.registry.count(str(digest)))
            self.assertIn("read", self.failing(daemon))
            await self.idle()
            self.proxy.unscript()
            self.clock.ahead += CHECKED + 1
            self.assertTrue((await self.client.get(path)).body == data)
            self.assertEqual(1, self.registry.count(str(digest)))
            self.assertNotIn("read", self.failing(daemon))

    @running
    async def test_hang_up_in_the_middle_of_a_hit(self) -> None:
        """The client gets the rest from upstream, every byte right, when the server hangs up."""
        await self.rest_from_upstream(closed)

    @running
    async def test_short_answers_in_the_middle_of_a_hit(self) -> None:
        """The same when the server breaks off its answers."""
        await self.rest_from_upstream(cut(1000), cut(0))

    @running
    async def test_refusals_in_the_middle_of_a_hit(self) -> None:
        """The same when the server refuses, as one does whose credentials have expired."""
        await self.rest_from_upstream(refusal(403, "ExpiredToken"), refusal(503, "SlowDown"))

    @running
    async def test_range_in_the_middle_of_a_hit(self) -> None:
        """A range whose end the server fails to deliver gets the rest from upstream too."""
        await self.start()
        _, data, path = await self.stored(18 * BIT)

        async def later(asked: object, forward: Forward) -> Reply | None:
            return await forward() if "bytes=5-" in asked.headers.get("range", "") else None

        self.proxy.script("GET", later, "blobs")
        got = await self.client.get(path, Range=f"bytes=5-{15 * BIT}")
        self.assertEqual(206, got.status)
        self.assertTrue(got.body == data[5 : 15 * BIT + 1])

    @running
    async def test_upstream_fails_as_well(self) -> None:
        """When upstream has not got the rest either, the connection is closed short."""
        await self.start()
        digest, data, path = await self.stored(18 * BIT)
        del self.registry.blobs[str(digest)]

        async def later(asked: object, forward: Forward) -> Reply | None:
            return await forward() if "bytes=0-" in asked.headers.get("range", "") else None

        self.proxy.script("GET", later, "blobs")
        got = await self.client.get(path)
        self.assertEqual((200, False), (got.status, got.complete))
        self.assertTrue(data.startswith(bytes(got.body)))
        self.assertEqual(18 * BIT, got.length)

    @running
    async def test_many_clients_in_the_middle_of_a_hit(self) -> None:
        """Ten clients of one blob are rescued by one download."""
        await self.start()
        digest, _, path = await self.stored(18 * BIT)
        gate: Deferred[None] = Deferred()

        async def later(asked: object, forward: Forward) -> Reply | None:
            if "bytes=0-" in asked.headers.get("range", ""):
                return await forward()
            return await held(gate)(asked, closed_forward)

        async def closed_forward() -> None:
            return None

        self.proxy.script("GET", later, "blobs")
        responses = [await self.client.begin_hashed(path) for _ in range(10)]
        await until(lambda: all(len(response.body) >= BIT for response in responses))
        gate.callback(None)
        for response in responses:
            await response.done
            self.assertEqual(digest.encoded, response.body.sha256.hexdigest())
        self.assertEqual(1, self.registry.count(str(digest)))

    @running
    async def test_one_broken_answer(self) -> None:
        """A single answer that breaks off is requested again, and upstream is not asked."""
        await self.start()
        digest, data, path = await self.stored(18 * BIT)
        broken: list[str] = []

        async def once(asked: object, forward: Forward) -> Reply | None:
            wanted = asked.headers["range"]
            if wanted in broken:
                return await forward()
            broken.append(wanted)
            return await cut(1000)(asked, forward)

        self.proxy.script("GET", once, "blobs")
        self.assertTrue((await self.client.get(path)).body == data)
        self.assertEqual(0, self.registry.count(str(digest)))
