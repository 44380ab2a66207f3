"""What upstream's statuses cost: Retry-After is respected, and negative responses are cached."""

from __future__ import annotations

from email.utils import formatdate

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Asked, Reply, in_turn

APP = "library/app"


class Statuses(MirrorTestCase):
    """One host, and its answers."""

    def setUp(self) -> None:
        super().setUp()
        self.data = b"layer" * 40_000
        self.manifest, blobs = self.registry.add_image(APP, "1", self.data)
        self.registry.add_image(APP, "2")
        self.blob = blobs[1]

    async def tag(self, tag: str = "1", repository: str = APP) -> Response:
        return await self.client.get(f"/v2/{repository}/manifests/{tag}")

    async def layer(self) -> Response:
        return await self.client.get(f"/v2/{APP}/blobs/{self.blob}")


class Limited(Statuses):
    """An upstream that answers 429."""

    async def not_before(self, retry_after: str, seconds: float, status: int) -> None:
        """After a limit a tag is not asked for again in so many seconds, and then it works.

        Blobs are not counted by such limits: they come nevertheless.
        """
        limit = Reply(status, headers={"Retry-After": retry_after})
        self.registry.script("/manifests/", in_turn(limit))
        await self.start()
        for _ in range(3):
            got = await self.tag()
            self.assertEqual(503, got.status)
            self.assertApproximates(seconds, int(got.headers["retry-after"]), 3)
        self.assertEqual(self.data, bytes((await self.layer()).body))
        # Shortly before the end of it clients would be let wait.
        self.time.forward(seconds - 15)
        self.assertEqual(503, (await self.tag()).status)
        self.assertEqual(1, self.registry.count("/manifests/"))
        self.time.forward(15)
        self.assertEqual(200, (await self.tag()).status)
        self.assertEqual(2, self.registry.count("/manifests/"))

    @running
    async def test_seconds(self) -> None:
        """No request is sent within the seconds of a 429, from any client."""
        await self.not_before("300", 300, 429)

    @running
    async def test_date(self) -> None:
        """A date in Retry-After is respected like seconds."""
        await self.not_before(formatdate(self.time.seconds() + 600, usegmt=True), 600, 429)

    @running
    async def test_unavailable(self) -> None:
        """The Retry-After of a 503 is respected as well."""
        await self.not_before("120", 120, 503)

    @running
    async def test_everywhere(self) -> None:
        """When a second repository is limited, no manifest is asked for before its time."""
        for name in "bcd":
            self.registry.add_image(f"library/{name}", "1")
        limit = Reply(429, headers={"Retry-After": "300"})
        self.registry.script("/manifests/", in_turn(limit, limit))
        await self.start()
        for repository in (APP, "library/b", "library/c", "library/d"):
            self.assertEqual(503, (await self.tag("1", repository)).status)
        self.assertEqual(2, self.registry.count("/manifests/"))
        self.assertEqual(self.data, bytes((await self.layer()).body))
        self.time.forward(301)
        self.assertEqual(200, (await self.tag("1", "library/d")).status)

    @running
    async def test_short(self) -> None:
        """A client that has nothing else waits for a limit that is over soon, and sees none of it."""
        limit = Reply(429, headers={"Retry-After": "2"})
        self.registry.script("/manifests/", in_turn(limit))
        await self.start()
        waiting = await self.client.begin(f"/v2/{APP}/manifests/1")
        await until(lambda: len(self.registry.asked) == 1)
        await self.client.get("/v2/")
        self.time.forward(3)
        await waiting.done
        self.assertEqual((200, 2), (waiting.status, len(self.registry.asked)))

    @running
    async def test_known_tag(self) -> None:
        """A tag that is known is served stale, and what is stored as ever."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.tag()
        await self.layer()
        limit = Reply(429, headers={"Retry-After": "300"})
        self.registry.script("/manifests/", limit, "HEAD")
        self.registry.script("/manifests/", limit)
        asked = len(self.registry.asked)
        for _ in range(3):
            got = await self.tag()
            self.assertEqual(200, got.status)
            self.assertTrue(got.headers["warning"].startswith("299 "))
            self.assertIn("age", got.headers)
            self.assertEqual(self.data, bytes((await self.layer()).body))
        self.assertEqual(asked + 1, len(self.registry.asked))

    @running
    async def test_in_the_middle(self) -> None:
        """A limit met when a body has broken is waited for inside the response."""
        self.registry.script(
            "/blobs/",
            in_turn(Reply(body=self.data, cut=100_000), Reply(429, headers={"Retry-After": "10"})),
        )
        await self.start()
        pulling = await self.client.begin(f"/v2/{APP}/blobs/{self.blob}")
        await until(lambda: self.registry.count("/blobs/") == 2)
        await self.client.get("/v2/")
        self.time.forward(8)
        await self.client.get("/v2/")
        self.assertEqual(2, self.registry.count("/blobs/"))
        self.time.forward(3)
        await pulling.done
        self.assertEqual((True, self.data), (pulling.complete, bytes(pulling.body)))
        self.assertEqual(3, self.registry.count("/blobs/"))


class Storms(Statuses):
    """An upstream that fails for a while."""

    @running
    async def test_storm(self) -> None:
        """Some bad answers before the good one are not seen by who has nothing else."""
        for status in (500, 502, 503, 504):
            await self.afresh()
            self.registry.script("/manifests/", in_turn(*[Reply(status)] * 2))
            self.registry.script("/blobs/", in_turn(*[Reply(status)] * 2))
            await self.start()
            for path in ("manifests/1", f"blobs/{self.blob}"):
                got = await self.time.hurry(self.client.get(f"/v2/{APP}/{path}"))
                self.assertEqual(200, got.status, status)
            self.assertEqual(3, self.registry.count("/manifests/"))
            self.assertEqual(3, self.registry.count("/blobs/"))

    @running
    async def test_down_at_start(self) -> None:
        """With everything down the daemon starts and says so; when it is up again pulls work."""
        await self.registry.stop()
        await self.start(self.upstream("docker.io", retries=0))
        self.assertEqual(200, (await self.client.get("/v2/")).status)
        got = await self.time.hurry(self.tag())
        self.assertIn(got.status, (502, 503, 504))
        self.registry.start(self.time)
        self.time.forward(3600)
        self.assertEqual(200, (await self.tag()).status)
        self.assertEqual(self.data, bytes((await self.layer()).body))


class Remembered(Statuses):
    """An upstream that says no."""

    @running
    async def test_not_found(self) -> None:
        """A 404 is not asked about again for ten seconds, and then it is."""
        await self.start()
        missing = f"/v2/{APP}/blobs/{Digest.of(b'missing')}"
        for path in (f"/v2/{APP}/manifests/missing", missing):
            self.registry.asked.clear()
            for _ in range(3):
                self.assertEqual(404, (await self.client.get(path)).status)
            self.assertEqual(1, len(self.registry.asked))
            self.time.forward(11)
            self.assertEqual(404, (await self.client.get(path)).status)
            self.assertEqual(2, len(self.registry.asked))

    @running
    async def test_not_found_is_about_one_thing(self) -> None:
        """That one tag does not exist says nothing about another, nor about another repository."""
        self.registry.add_image("library/other", "missing")
        await self.start()
        self.assertEqual(404, (await self.tag("missing")).status)
        self.assertEqual(200, (await self.tag("2")).status)
        self.assertEqual(200, (await self.tag("missing", "library/other")).status)

    @running
    async def test_not_remembered(self) -> None:
        """With nothing to be remembered each question goes upstream."""
        await self.start(self.upstream("docker.io", remember_not_found=0, remember_denied=0))
        for _ in range(3):
            self.assertEqual(404, (await self.tag("missing")).status)
        self.assertEqual(3, len(self.registry.asked))
        self.registry.add_image(APP, "missing")
        self.assertEqual(200, (await self.tag("missing")).status)

    @running
    async def test_denied(self) -> None:
        """One refused tag or digest refuses that one for a minute, and no other, no layer and no list."""
        for status in (401, 403, 412, 451):
            for refused in ("1", str(self.manifest)):
                await self.afresh()
                self.registry.script(f"/manifests/{refused}", Reply(status))
                await self.start()
                for _ in range(2):
                    self.assertEqual(403, (await self.tag(refused)).status)
                self.assertEqual(1, self.registry.count("/manifests/"), status)
                self.assertEqual(200, (await self.tag("2")).status)
                self.assertEqual(self.data, bytes((await self.layer()).body))
                listed = await self.client.get(f"/v2/{APP}/tags/list")
                self.assertEqual(200, listed.status)
                self.registry.unscript()
                self.assertEqual(403, (await self.tag(refused)).status)
                self.time.forward(61)
                self.assertEqual(200, (await self.tag(refused)).status)


class Queue(Statuses):
    """An upstream that may be asked so much at a time."""

    @running
    async def test_bounded(self) -> None:
        """No more requests than configured are under way, and manifests go before waiting blobs."""
        gates: list[Deferred[None]] = []

        def held(asked: Asked) -> Reply:
            gates.append(Deferred())
            return evolve(self.registry.honest(asked), hold=gates[-1])

        for pattern in ("/blobs/", "/manifests/"):
            self.registry.script(pattern, held)
        blobs = [self.registry.add_blob(b"%d" % n * 100_000) for n in range(6)]
        await self.start(self.upstream("docker.io", max_connections=3))
        paths = [f"blobs/{blob}" for blob in blobs] + ["manifests/1", "manifests/2"]
        pulls = [await self.client.begin(f"/v2/{APP}/{path}") for path in paths]
        # Two blobs, since the third place is kept for manifests, and one of these.
        await until(lambda: len(gates) == 3)
        await self.client.get("/v2/")
        self.assertEqual(["blobs", "blobs", "manifests"], self.kinds())
        for answered in range(len(paths)):
            await until(lambda: len(gates) > answered)  # noqa: B023
            self.assertLessEqual(len(gates) - answered, 3)
            gates[answered].callback(None)
        for pull in pulls:
            await pull.done
            self.assertEqual((200, True), (pull.status, pull.complete))
        self.assertEqual("manifests", self.kinds()[3])
        self.assertEqual(6, self.kinds().count("blobs"))
        self.assertLessEqual(self.registry.connections, 3)

    def kinds(self) -> list[str]:
        return [asked.path.split("/")[-2] for asked in self.registry.asked]
