"""Questions about a bucket without a limit, which its running daemons answer."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import evolve

from oci_registry.account.account import AccountLimits
from oci_registry.management.bucket_index import Freshness
from oci_registry.management.manager import Management
from oci_registry.management.problems import NotReady, NotStored
from oci_registry.management.source import Order, Wanted
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_replies import Asked, Reply
from tests.support.managing import management_of, subject
from tests.support.s3_daemon import BucketTestCase
from tests.support.s3_proxy import Forward, refusal

NAME = "library/app"
TOKEN = "0123456789-abcdefghij"
ALWAYS = Freshness(age=-1.0, multiple=0.0)


class IndexTestCase(BucketTestCase):
    """Daemons without a limit; *images* by tag: the digest, and those of the blobs."""

    account_limits = AccountLimits(interval=0.02)

    def setUp(self) -> None:
        super().setUp()
        self.images: dict[str, tuple[Digest, list[Digest]]] = {}

    async def begin(self, **settings: Any) -> Daemon:
        """Start a daemon with a spool of its own."""
        return await self.start(storage=evolve(self.storage, spool=self.spool()), **settings)

    def spool(self) -> str:
        folder = str(self.mktemp())
        os.makedirs(folder)
        return folder

    async def pull(self, daemon: Daemon, *tags: str, repository: str = NAME) -> None:
        """Pull images as clients do, until they are stored."""
        for tag in tags:
            if tag not in self.images:
                image = self.registry.add_image(repository, tag, b"base", tag.encode() * 1000)
                self.images[tag] = image
            digest, blobs = self.images[tag]
            paths = (f"manifests/{tag}", f"manifests/{digest}", *(f"blobs/{b}" for b in blobs))
            for path in paths:
                got = await self.client.get(f"/v2/{repository}/{path}")
                self.assertEqual((200, True), (got.status, got.complete), path)
        await self.idle()
        await until(lambda: not len(daemon.parts.records))

    def asking(self, daemon: Daemon, freshness: Freshness = ALWAYS) -> Management:
        return management_of(daemon, shared=True, freshness=freshness)

    def listings(self) -> int:
        """Return how often the blobs were listed."""
        return sum("prefix=blobs" in asked.query for asked in self.proxy.asked)

    async def names(self, management: Management) -> list[str]:
        page = await management.list(Wanted())
        self.assertTrue(page.whole)
        return [image.name.rpartition("/")[2] for image in page.images]


class Index(IndexTestCase):
    """One daemon."""

    @running
    async def test_questions(self) -> None:
        """Images are listed and shown, sums are right, and it is said why an image is kept."""
        daemon = await self.begin()
        await self.pull(daemon, "1", "2")
        management = self.asking(daemon)
        self.assertEqual(["app:1", "app:2"], await self.names(management))
        details = await management.show(subject("app:1"))
        self.assertEqual(
            (True, 3, None), (details.image.complete, details.image.blobs, details.image.pulls)
        )
        self.assertEqual(("docker.io/library/app:2",), details.shared_with)
        use = await management.du()
        sizes = [
            item["Size"]
            for key in ("blobs/", "repositories/docker.io/_manifests/")
            for item in self.listed(key)
        ]
        self.assertEqual((sum(sizes), True), (use.size, use.whole))
        self.assertEqual([(NAME, 2)], [(one.repository, one.images) for one in use.repositories])
        why = await management.why(subject("app:1"))
        self.assertEqual((str(self.images["1"][0]), None), (why.digest, why.ahead))

    def listed(self, prefix: str) -> list[dict[str, Any]]:
        answer = self.bucket.list_objects_v2(Bucket=self.direct.bucket, Prefix=prefix)
        return list(answer.get("Contents", ()))

    @running
    async def test_pages(self) -> None:
        """A list comes in pages, and the bucket is listed for the first one only."""
        daemon = await self.begin()
        await self.pull(daemon, *map(str, range(5)))
        management = self.asking(daemon)
        page = await management.list(Wanted(limit=2))
        found = [image.tag for image in page.images]
        self.proxy.asked.clear()
        while page.next is not None:
            page = await management.list(Wanted(limit=2, after=page.next))
            found += [image.tag for image in page.images]
        self.assertEqual(["0", "1", "2", "3", "4"], found)
        self.assertEqual(0, self.listings())
        largest = await management.list(Wanted(order=Order.SIZE, limit=1))
        self.assertEqual(1, len(largest.images))

    @running
    async def test_listed_once(self) -> None:
        """One listing is enough for several questions; what the daemon changes is known at once."""
        daemon = await self.begin()
        await self.pull(daemon, "1")
        management = self.asking(daemon, Freshness())
        self.assertEqual(["app:1"], await self.names(management))
        self.proxy.asked.clear()
        await self.pull(daemon, "2")
        self.assertEqual(["app:1", "app:2"], await self.names(management))
        await management.du()
        self.assertEqual(0, self.listings())

    @running
    async def test_removed(self) -> None:
        """With its blobs an image goes, but not what another one needs."""
        daemon = await self.begin()
        await self.pull(daemon, "1", "2")
        management = self.asking(daemon)
        removal = await management.remove(subject("app:1"), blobs=True)
        own = [str(blob) for blob in self.images["1"][1] if blob not in self.images["2"][1]]
        self.assertEqual(
            (set(own), (str(self.images["1"][0]),)), (set(removal.blobs), removal.manifests)
        )
        self.assertEqual(["app:2"], await self.names(management))
        with self.assertRaises(NotStored):
            await management.show(subject("app:1"))
        await self.registry.stop()
        await self.pull(daemon, "2")

    @running
    async def test_tag_only(self) -> None:
        """To remove a tag alone, no index is made."""
        daemon = await self.begin()
        await self.pull(daemon, "1")
        self.proxy.asked.clear()
        removal = await self.asking(daemon).remove(subject("app:1"))
        self.assertEqual(("docker.io/library/app:1",), removal.tags)
        assert daemon.parts.asked is not None
        self.assertIsNone(daemon.parts.asked.running)
        self.assertEqual(0, self.listings())

    @running
    async def test_not_asked(self) -> None:
        """After half an hour without a question it is kept up no more, and made new at the next one."""
        daemon = await self.begin()
        await self.pull(daemon, "1")
        asked, management = daemon.parts.asked, self.asking(daemon)
        assert asked is not None
        await self.names(management)
        self.assertIsNotNone(asked.running)
        asked._rest()
        self.assertIsNotNone(asked.running)
        assert asked._end is not None
        asked._end.reset(0)
        await until(lambda: asked.running is None)
        await self.pull(daemon, "2")
        self.assertEqual(["app:1", "app:2"], await self.names(management))

    @running
    async def test_catalog(self) -> None:
        """The catalogue lists repositories page by page, without an index."""
        daemon = await self.begin()
        for name in ("a/x", "b/x", "c/x"):
            await self.pull(daemon, name[0], repository=name)
        first = await self.client.get("/v2/_catalog?n=2")
        self.assertEqual(["docker.io/a/x", "docker.io/b/x"], json.loads(first.body)["repositories"])
        second = await self.client.get("/v2/_catalog?n=2&last=docker.io/b/x")
        self.assertEqual(["docker.io/c/x"], json.loads(second.body)["repositories"])

    @running
    async def test_admin_api(self) -> None:
        """The API answers the same."""
        daemon = await self.begin(admin_listen=("tcp:0:interface=127.0.0.1",), admin_token=TOKEN)
        await self.pull(daemon, "1")
        port = await daemon.parts.ports.services[-1]._waitingForPort  # type: ignore[attr-defined]
        admin = Client(reactor, port.getHost().port)
        self.addCleanup(admin.close)
        for path in ("images", "image?image=app:1", "usage", "why?image=app:1"):
            got = await admin.get(f"/api/v1/{path}", Authorization=f"Bearer {TOKEN}")
            self.assertEqual(200, got.status, (path, bytes(got.body)))


class Trouble(IndexTestCase):
    """A bucket that fails, or is slow."""

    @running
    async def test_failing(self) -> None:
        """If the bucket fails in the middle, the answer is an error that says so; later it is right."""
        daemon = await self.begin()
        await self.pull(daemon, "1")
        management = self.asking(daemon)
        refuse = refusal(403, "AccessDenied")

        async def in_the_middle(asked: Asked, forward: Forward) -> Reply | None:
            """The blobs have been listed then."""
            about = "prefix=repositories" in asked.query
            return await refuse(asked, forward) if about else await forward()

        self.proxy.script("LIST", in_the_middle)
        for ask in (
            management.list(Wanted()),
            management.du(),
            management.remove(subject("app:1"), blobs=True),
        ):
            with self.assertRaises(NotReady) as caught:
                await ask
            self.assertIn("the bucket cannot be listed: ", str(caught.exception))
        self.proxy.unscript()
        self.assertEqual(["app:1"], await self.names(management))
        self.proxy.script("HEAD", refusal(403, "AccessDenied"))
        with self.assertRaises(StoreError):
            await management.show(subject("app:1"))
        self.proxy.unscript()
        self.assertTrue((await management.show(subject("app:1"))).image.complete)

    @running
    async def test_slow(self) -> None:
        """While a listing takes long, an image is shown, and lists and sums say that they are not whole."""
        daemon = await self.begin()
        await self.pull(daemon, "1")
        management = self.asking(daemon, evolve(ALWAYS, wait=0.1, longest=0.2))
        assert daemon.parts.asked is not None
        account = daemon.parts.asked._account
        # As if there were very many objects.
        account._limits = evolve(account._limits, step=0)
        page = await management.list(Wanted())
        self.assertFalse(page.whole)
        self.assertFalse((await management.du()).whole)
        details = await management.show(subject("app:1"))
        self.assertTrue(details.image.complete)
        with self.assertRaises(NotReady):
            await management.remove(subject("app:1"), blobs=True)
        self.assertTrue(self.keys("blobs/"))


class Replicas(IndexTestCase):
    """Two daemons on one bucket."""

    @running
    async def test_both(self) -> None:
        """Each answers for what the other one has stored and removed."""
        first = await self.begin()
        to_first = self.client
        second = await self.begin()
        to_second = self.client
        asking = [self.asking(first), self.asking(second)]
        self.client = to_first
        await self.pull(first, "1")
        self.assertEqual(["app:1"], await self.names(asking[1]))
        self.client = to_second
        await self.pull(second, "2")
        self.assertEqual(["app:1", "app:2"], await self.names(asking[0]))
        # Known at once, without a listing.
        lazy = self.asking(first, Freshness(age=1e9))
        await self.names(lazy)
        await self.pull(second, "3")
        self.assertTrue((await lazy.show(subject("app:3"))).image.complete)
        await asking[1].remove(subject("app:1"), blobs=True)
        with self.assertRaises(NotStored):
            await lazy.show(subject(f"app@{self.images['1'][0]}"))
        self.assertEqual(["app:2", "app:3"], await self.names(asking[0]))

    @running
    async def test_needed_by_other(self) -> None:
        """A blob of an image that the other one has just stored is not removed."""
        first = await self.begin()
        to_first = self.client
        second = await self.begin()
        self.client, to_second = to_first, self.client
        await self.pull(first, "1")
        lazy = self.asking(first, Freshness(age=-1.0, multiple=0.0))
        await self.names(lazy)
        self.client = to_second
        await self.pull(second, "2")
        await lazy.remove(subject("app:1"), blobs=True)
        for blob in self.images["2"][1]:
            self.assertTrue(self.has(blob))
