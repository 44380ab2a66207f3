"""Removals beside clients: nothing of it is served afterwards, and nobody's pull suffers."""

from __future__ import annotations

from twisted.internet.task import deferLater

from oci_registry.management.answers import Removal
from oci_registry.management.manager import Management
from oci_registry.management.problems import InUse, NotReady
from oci_registry.management.source import Wanted
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.managing import subject
from tests.support.patterns import noise
from tests.support.s3_daemon import BucketTestCase

MIB = 1024 * 1024
NAME = "library/app"
IMAGE = f"/v2/{NAME}/manifests/1"


class ManagementTestCase(MirrorTestCase):
    """A daemon that has an image, whose registry does not have it any more."""

    async def serve(self, size: int = 1000) -> Management:
        layer = noise(1, size)
        self.digest, self.blobs = self.registry.add_image(NAME, "1", layer)
        self.layer = Digest.of(layer)
        daemon = await self.start()
        await self.pull()
        await until(lambda: not len(daemon.parts.records))
        await self.idle()
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.is_complete)
        self.management = daemon.parts.management()
        return self.management

    async def pull(self) -> None:
        self.assertEqual(200, (await self.client.get(IMAGE)).status)
        for digest in self.blobs:
            answer = await self.client.get(self.blob_path(digest))
            self.assertEqual(200, answer.status)

    def blob_path(self, digest: Digest) -> str:
        return f"/v2/{NAME}/blobs/{digest}"

    def withdraw(self) -> None:
        """Have the registry lose everything."""
        self.registry.manifests.clear()
        self.registry.blobs.clear()

    def paths(self) -> list[str]:
        paths = [IMAGE, f"/v2/{NAME}/manifests/{self.digest}"]
        return paths + [self.blob_path(digest) for digest in self.blobs]

    async def statuses(self) -> dict[str, int]:
        """Return how requests for the image are answered, with GET, HEAD and for a part."""
        found = {}
        for path in self.paths():
            for method in ("GET", "HEAD"):
                answer = await self.client.get(path, method)
                found[f"{method} {path}"] = answer.status
            part = await self.client.get(path, Range="bytes=0-3")
            found[f"part of {path}"] = part.status
        return found


class Removed(ManagementTestCase):
    """Removals from a running daemon."""

    @running
    async def test_everything(self) -> None:
        """After a removal no path gives it: tag, digest, HEAD, ready answers, blobs, parts, or a restart."""
        management = await self.serve()
        # A second time, so that there are ready answers.
        await self.statuses()
        await self.statuses()
        ready = self.daemons[-1].parts.site.ready
        assert ready is not None
        self.assertIsNotNone(ready.lend(IMAGE.encode()))
        self.withdraw()
        removal = await management.remove(subject("app:1"), blobs=True)
        self.assertEqual({str(digest) for digest in self.blobs}, set(removal.blobs))
        self.assertIsNone(ready.lend(IMAGE.encode()))
        self.assertEqual({404}, set((await self.statuses()).values()))
        self.assertEqual(set(), {name for name in self.files() if not name.startswith("transfers")})
        await self.stop()
        await self.start()
        self.assertEqual({404}, set((await self.statuses()).values()))

    @running
    async def test_pulled_again(self) -> None:
        """What was removed can be pulled again, and is stored again."""
        management = await self.serve()
        await management.remove(subject("app:1"), blobs=True)
        await self.pull()
        await until(lambda: not len(self.daemons[-1].parts.records))
        await self.idle()
        page = await management.list(Wanted())
        self.assertEqual(["docker.io/library/app:1"], [image.name for image in page.images])
        self.assertTrue(page.images[0].complete and page.whole)

    @running
    async def test_not_written_yet(self) -> None:
        """What is still to be written is not written after it was removed."""
        management = await self.serve()
        await management.remove(subject("app:1"), blobs=True)
        # Nothing waits between the pull and the removal.
        answer = await self.client.get(IMAGE)
        self.assertEqual(200, answer.status)
        account = self.daemons[-1].parts.account
        assert account is not None
        removal = await management.remove(subject(f"app@{self.digest}"))
        self.assertEqual((str(self.digest),), removal.manifests)
        await until(lambda: not len(self.daemons[-1].parts.records))
        self.assertNotIn(manifest_key("docker.io", self.digest), self.files())

    @running
    async def test_streaming(self) -> None:
        """A client that reads a blob gets all of it; the blob stays until then."""
        management = await self.serve(32 * MIB)
        reading = await self.client.begin(self.blob_path(self.layer))
        await reading.got_headers
        reading.pause()
        removal: Removal = await management.remove(subject("app:1"), blobs=True)
        self.assertEqual((str(self.layer),), removal.kept)
        with self.assertRaises(InUse):
            await management.remove_blob(self.layer)
        reading.resume()
        await reading.done
        self.assertEqual(32 * MIB, len(reading.body))
        await until(lambda: not management._content.blobs.in_use(self.layer))
        await management.remove_blob(self.layer)
        self.assertNotIn(blob_key(self.layer), self.files())

    @running
    async def test_refresh(self) -> None:
        """The next pull asks the registry, and if it is down the tag is served as before."""
        management = await self.serve()
        self.registry.asked.clear()
        await self.client.get(IMAGE)
        self.assertEqual([], list(self.registry.asked))
        await management.refresh(subject("app:1"))
        self.assertEqual(200, (await self.client.get(IMAGE)).status)
        self.assertTrue(self.registry.asked)
        self.registry.asked.clear()
        await self.client.get(IMAGE)
        self.assertEqual([], list(self.registry.asked))

    @running
    async def test_bucket(self) -> None:
        """A daemon without an account says so."""
        management = await self.serve()
        management._index._account = None  # type: ignore[attr-defined]
        with self.assertRaises(NotReady):
            await management.list(Wanted())


class Replicas(BucketTestCase):
    """Two daemons on one bucket."""

    @running
    async def test_removal(self) -> None:
        """What is removed through one of them is not served by the other one a second later."""
        self.registry.add_image(NAME, "1", b"layer")
        daemons = [await self.start() for _ in range(2)]
        other = self.client
        for client in (other, other):
            self.assertEqual(200, (await client.get(IMAGE)).status)
        await until(lambda: not any(len(daemon.parts.records) for daemon in daemons))
        self.registry.manifests.clear()
        await daemons[0].parts.management().remove(subject("app:1"))
        while (await other.get(IMAGE)).status == 200:
            await deferLater(reactor, 0.1)
        self.assertEqual(404, (await other.get(IMAGE)).status)
