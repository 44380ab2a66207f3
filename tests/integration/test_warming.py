"""Images are warmed by a daemon, while clients pull, registries limit and the daemon stops."""

from __future__ import annotations

import json

from oci_registry.config.settings import UpstreamSettings
from oci_registry.pullthrough.warming import Warming
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.platforms import Platform
from oci_registry.spec.sizes import parse_size
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import OCI_INDEX, Asked, Reply
from tests.support.patterns import noise

MIB = 1024 * 1024
BASE, RUNTIME = noise(1, 200_000), noise(2, 100_000)


class WarmingTestCase(MirrorTestCase):
    """Some images at the fake registry."""

    def index(self, tag: str, *platforms: str) -> Digest:
        """Have an index whose platforms share two layers; return its digest."""
        entries = []
        for platform in platforms:
            own = f"{tag} {platform}"
            digest, _ = self.registry.add_image("library/app", own, BASE, RUNTIME, own.encode())
            system, _, architecture = platform.partition("/")
            entry = {
                "digest": str(digest),
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
            }
            entries.append(entry | {"platform": {"os": system, "architecture": architecture}})
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        return self.registry.add_manifest("library/app", tag, raw.encode(), OCI_INDEX)

    def begin(self, *images: str, platforms: str = "", jobs: int = 4) -> Warming:
        names = [parse_image(image) for image in images]
        wanted = [Platform.parse(text) for text in platforms.split()]
        return self.daemons[-1].parts.warmer.begin(names, wanted, jobs)

    async def warm(self, *images: str, platforms: str = "", jobs: int = 4) -> Warming:
        warming = self.begin(*images, platforms=platforms, jobs=jobs)
        await warming.wait()
        return warming

    def states(self, warming: Warming) -> list[str]:
        return [image.state.value for image in warming.images]

    def gets(self) -> list[str]:
        return [asked.path for asked in self.registry.asked if asked.method == "GET"]

    def limited(self, **settings: int) -> UpstreamSettings:
        """Have a registry that grants 20 manifests."""
        self.left = 20

        def count(asked: Asked) -> Reply | None:
            if asked.method == "GET" and "/manifests/" in asked.path:
                self.left -= 1
                honest = self.registry.honest(asked)
                honest.headers["RateLimit-Limit"] = "20;w=21600"
                honest.headers["RateLimit-Remaining"] = f"{self.left};w=21600"
                return honest
            return None

        self.registry.guard = count
        return self.upstream("docker.io", **settings)

    async def recorded(self) -> None:
        """Wait until all manifests and tags are written."""
        await until(lambda: not len(self.daemons[-1].parts.records))


class Warm(WarmingTestCase):
    """Warming."""

    @running
    async def test_many_images(self) -> None:
        """Twenty indexes that share layers: each GET once; all is served when the registry is down."""
        digests = [self.index(f"v{n}", "linux/amd64", "linux/arm64") for n in range(20)]
        await self.start()
        names = [f"docker.io/library/app:v{n}" for n in range(20)]
        warming = await self.warm(*names, jobs=8)
        self.assertEqual(["done"] * 20, self.states(warming))
        gets = self.gets()
        # An index, two manifests, two configs and two layers each, and two layers of all.
        self.assertEqual((20 * 7 + 2, len(gets)), (len(set(gets)), len(gets)))
        self.assertEqual(digests, [image.digest for image in warming.images])
        await self.recorded()
        await self.stop()
        await self.start()
        again = await self.warm(*names)
        self.assertEqual((["done"] * 20, gets), (self.states(again), self.gets()))
        await self.registry.stop()
        for number, digest in enumerate(digests):
            served = await self.client.get(f"/v2/library/app/manifests/v{number}")
            self.assertEqual((200, digest), (served.status, Digest.of(bytes(served.body))))
        layer = await self.client.get(f"/v2/library/app/blobs/{Digest.of(BASE)}")
        self.assertTrue(layer.body == BASE, "the bytes differ")

    @running
    async def test_platform(self) -> None:
        """Of an index only the chosen platform is fetched."""
        self.index("1", "linux/amd64", "linux/arm64")
        await self.start()
        warming = await self.warm("library/app:1", platforms="linux/arm64")
        self.assertEqual(
            (["done"], ["linux/arm64"]), (self.states(warming), warming.images[0].platforms)
        )
        self.assertEqual(6, len(self.gets()))

    @running
    async def test_cancel_and_again(self) -> None:
        """After cancelling, running downloads end, and another warming fetches only the rest."""
        self.registry.add_image("library/app", "1", BASE, RUNTIME)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 100_000)
        await self.start()
        warming = self.begin("library/app:1", jobs=1)
        await until(lambda: warming.bytes_received >= 100_000)
        warming.cancel()
        self.assertEqual(["cancelled"], self.states(warming))
        gate.callback(None)
        await self.idle()
        self.assertEqual(["done"], self.states(await self.warm("library/app:1")))
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    @running
    async def test_joined(self) -> None:
        """A client gets the bytes of a download that was begun for nobody, while it continues."""
        self.registry.add_image("library/app", "1", BASE)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 150_000)
        await self.start()
        warming = self.begin("library/app:1")
        await until(lambda: warming.bytes_received >= 150_000)
        client = await self.client.begin(f"/v2/library/app/blobs/{Digest.of(BASE)}")
        await until(lambda: len(client.body) >= 60_000)
        gate.callback(None)
        await client.done
        self.assertTrue(client.body == BASE, "the bytes differ")
        await warming.wait()
        self.assertEqual(1, self.registry.count(f"/blobs/{Digest.of(BASE)}"))

    @running
    async def test_stop(self) -> None:
        """A daemon that stops in the midst cancels the warming, and leaves nothing half stored."""
        self.registry.add_image("library/app", "1", BASE)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 150_000)
        await self.start()
        warming = self.begin("library/app:1")
        await until(lambda: warming.bytes_received >= 150_000)
        await self.stop()
        self.assertEqual((["cancelled"], set()), (self.states(warming), self.files("transfers")))
        gate.callback(None)
        self.registry.unscript()
        await self.start()
        self.assertEqual(["done"], self.states(await self.warm("library/app:1")))

    @running
    async def test_limit(self) -> None:
        """What finds no room within the limit of the store has failed, with the reason."""
        self.registry.add_image("library/app", "1", noise(3, 3 * MIB))
        await self.start(max_size=parse_size("8MiB"))
        await until(lambda: self.daemons[-1].parts.account.is_complete)  # type: ignore[union-attr]
        warming = await self.warm("library/app:1")
        self.assertEqual(["failed"], self.states(warming))
        self.assertIn("larger than a quarter of the limit", warming.images[0].problems[0])

    @running
    async def test_too_many(self) -> None:
        """Of more images than the limit of the store allows, it says which are not stored in the end."""
        for number in range(20):
            self.registry.add_image("library/app", f"v{number}", noise(number, 2 * MIB))
        await self.start(max_size=parse_size("16MiB"))
        await until(lambda: self.daemons[-1].parts.account.is_complete)  # type: ignore[union-attr]
        warming = await self.warm(*(f"library/app:v{number}" for number in range(20)))
        states = self.states(warming)
        self.assertEqual({"done", "failed"}, set(states))
        self.assertLess(states.count("done"), 9)
        await self.recorded()
        await self.registry.stop()
        for number, state in enumerate(states):
            if state == "done":
                path = f"/v2/library/app/manifests/v{number}"
                self.assertEqual(200, (await self.client.get(path)).status)


class Budget(WarmingTestCase):
    """A registry that counts requests of manifests."""

    @running
    async def test_reserve(self) -> None:
        """It stops at the reserve, exactly, says what is left, and continues when there is more."""
        for number in range(30):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        await self.start(self.limited())
        names = [f"library/app:v{number}" for number in range(30)]
        warming = await self.warm(*names, jobs=8)
        self.assertEqual(5, self.left)
        self.assertEqual(["done"] * 15 + ["left"] * 15, sorted(self.states(warming)))
        problem = next(image.problems[0] for image in warming.images if image.problems)
        self.assertIn("5 of 20 requests are left of its rate limit, and 5 are reserved", problem)
        await self.recorded()
        self.left = 20
        await self.later(6 * 3600 + 1)
        again = await self.warm(*names, jobs=8)
        self.assertEqual(["done"] * 30, self.states(again))
        self.assertEqual(5, self.left)
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    @running
    async def test_clients_use_the_reserve(self) -> None:
        """A client is served from the reserve, unless it says that nobody waits for its request."""
        for number in range(3):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        await self.start(self.limited(rate_limit_reserve=100))
        await self.client.get("/v2/library/app/manifests/v0")
        path = "/v2/library/app/manifests/v1"
        refused = await self.client.get(path, Priority="u=7, i")
        self.assertEqual((503, "600"), (refused.status, refused.headers["retry-after"]))
        self.assertIn(b"20 are reserved for clients", refused.body)
        self.assertEqual(200, (await self.client.get(path, Priority="u=3")).status)
        stored = await self.client.get(path, Priority="u=7")
        self.assertEqual((200, 18), (stored.status, self.left))
        layer = f"/v2/library/app/blobs/{Digest.of(b'layer 2')}"
        # Blobs do not count there.
        self.assertEqual(200, (await self.client.get(layer, Priority="u=7")).status)

    @running
    async def test_refused(self) -> None:
        """A registry that refuses for an hour is not asked again for the other images."""
        reply = Reply(429, b"{}", {"Retry-After": "3600"})
        self.registry.script("/manifests/", lambda _: reply)
        await self.start()
        warming = await self.warm(*(f"library/app:v{number}" for number in range(20)), jobs=1)
        self.assertEqual(["left"] * 20, self.states(warming))
        self.assertLess(len(self.gets()), 5)
