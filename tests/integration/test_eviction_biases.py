"""A directory with a limit: what is evicted after everything else, and what is not evicted on probation."""

from __future__ import annotations

import random

from oci_registry.service import Daemon
from tests.integration.test_limits import CAP, LAYER, LimitTestCase
from tests.support.admin import AdminTestCase
from tests.support.daemon import running
from tests.support.fake_replies import Asked, Reply
from tests.support.patterns import noise

SIZE = 2 * LAYER
"""Bytes of a layer: few images fill the directory."""


class BiasTestCase(LimitTestCase, AdminTestCase):
    """Images of several repositories, each with two layers of its own."""

    async def take(self, repository: str, tag: str, namespace: str = "docker.io") -> None:
        """Pull an image, which upstream has from then on; everything must be right."""
        chance = random.Random(f"{repository} {tag}")
        layers = [noise(chance.getrandbits(64), SIZE) for _ in range(2)]
        digest, blobs = self.registry.add_image(repository, tag, *layers)
        for path in (f"manifests/{tag}", f"manifests/{digest}", *(f"blobs/{b}" for b in blobs)):
            got = await self.client.get(f"/v2/{repository}/{path}?ns={namespace}")
            self.assertEqual((200, True), (got.status, got.complete), f"{repository}:{tag} {path}")
            if path.startswith("blobs/"):
                wanted = self.registry.blobs[path.removeprefix("blobs/")]
                self.assertTrue(got.body == wanted, f"the bytes of {path} differ")

    def stored(self, repository: str, namespace: str = "docker.io") -> set[str]:
        """Return the tags of a repository that are stored."""
        folder = f"repositories/{namespace}/{repository}/_tags"
        return {file.rpartition("/")[2] for file in self.files(folder)}

    async def fill(self, daemon: Daemon, repository: str, namespace: str = "docker.io") -> None:
        """Pull images once, twice as many as there is room for."""
        for number in range(2 * CAP // (2 * SIZE)):
            await self.take(repository, f"{number:03}", namespace)
            if number % 4 == 0:
                await self.rest(daemon)
        await self.rest(daemon)


class Newest(BiasTestCase):
    """The newest tags of each repository."""

    @running
    async def test_kept(self) -> None:
        """They are there when all else that was pulled once has been replaced, and why is said."""
        daemon = await self.begin(self.upstream("docker.io", keep_newest_tags=2))
        for tag in ("1", "2", "3"):
            await self.take("library/kept", tag)
        await self.fill(daemon, "library/app")
        await self.settle(daemon)
        self.assertLessEqual(self.taken(), CAP)
        self.assertEqual({"2", "3"}, self.stored("library/kept"))
        status, why = await self.call("GET", "/why?image=kept:3")
        self.assertEqual((200, "newest"), (status, why["queue"]))
        self.assertIn(
            "it has one of the 2 newest tags of its repository: images without one are evicted first",
            why["reasons"],
        )
        await self.registry.stop()
        for tag in ("2", "3"):
            got = await self.client.get(f"/v2/library/kept/manifests/{tag}")
            self.assertEqual(200, got.status)

    @running
    async def test_limit_wins(self) -> None:
        """If everything has one of the newest tags, the limit is kept nevertheless, and no pull fails."""
        daemon = await self.begin(self.upstream("docker.io", keep_newest_tags=100))
        await self.fill(daemon, "library/app")
        await self.settle(daemon)
        self.assertLessEqual(self.taken(), CAP)
        self.assertGreater(self.taken(), 0.6 * CAP)
        self.assertGreater(self.counted(daemon, "evicted_bytes_total"), CAP // 2)


class RateLimits(BiasTestCase):
    """A registry that says how many requests are left."""

    async def check(self, left: int) -> bool:
        """Return whether an image that was pulled once is still there, after many of another registry were."""

        def announcing(asked: Asked) -> Reply | None:
            if "/library/" not in asked.path:
                return None
            honest = self.registry.honest(asked)
            honest.headers["RateLimit-Limit"] = "100;w=21600"
            honest.headers["RateLimit-Remaining"] = f"{left};w=21600"
            return honest

        self.registry.guard = announcing
        daemon = await self.begin(self.upstream("docker.io"), self.upstream("example.com"))
        await self.take("library/app", "1")
        await self.fill(daemon, "team/app", "example.com")
        return bool(self.stored("library/app"))

    @running
    async def test_low(self) -> None:
        """While little is left, its images are not evicted on probation."""
        self.assertTrue(await self.check(5))

    @running
    async def test_enough(self) -> None:
        """While there is enough, they are evicted as others are."""
        self.assertFalse(await self.check(50))
