"""Warming fetches all that images consist of, each once, and says what is missing."""

from __future__ import annotations

import json

from twisted.internet.defer import fail

from oci_registry.pullthrough.warm_state import (
    AlreadyRunning,
    ImageState,
    TooMuch,
    WarmImage,
    WarmLimits,
)
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, NameUnknown, TooManyRequests
from oci_registry.spec.image import parse_image
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, OCI_MANIFEST
from oci_registry.storage.interfaces import StoreError
from oci_registry.upstream.errors import RateLimited
from oci_registry.upstream.interfaces import BUSY, FREE, Capacity, Spare
from tests.support.fake_upstream import manifest_of
from tests.unit.pullthrough.warm_case import WarmTestCase

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


class Contents(WarmTestCase):
    """What is fetched."""

    def test_image(self) -> None:
        """Manifest, config and layers are fetched once, and stored."""
        self.image("1", b"one", b"two")
        warming = self.warm(":1")
        (image,) = warming.images
        self.assertIs(ImageState.DONE, image.state)
        self.assertEqual((3, 3, 4), (image.blobs, image.blobs_stored, image.fetched))
        self.assertEqual(4, len(self.gets()))
        self.assertTrue(self.blob_stored(b"one") and self.blob_stored(b"two"))
        self.assertEqual(image.bytes, image.bytes_stored)

    def test_again(self) -> None:
        """What is stored is not fetched again, also after a restart."""
        self.image("1", b"one", b"two")
        self.warm(":1")
        asked = len(self.upstream.asked)
        self.restart()
        warming = self.warm(":1")
        self.assertEqual((["done"], asked), (self.states(warming), len(self.upstream.asked)))
        self.assertEqual(0, warming.images[0].fetched)

    def test_shared_layers(self) -> None:
        """Fifty images that share layers: each GET is made once."""
        for number in range(50):
            self.image(f"v{number}", b"base", b"runtime", b"app %d" % (number // 2))
        warming = self.warm(*(f":v{number}" for number in range(50)), jobs=8)
        self.assertEqual(["done"] * 50, self.states(warming))
        gets = self.gets()
        self.assertEqual((50 + 50 + 2 + 25, len(set(gets))), (len(gets), len(gets)))

    def test_all_platforms(self) -> None:
        """Without platforms, all that an index names is fetched, attestations too, and the index is kept."""
        children = {
            "linux/amd64": self.image(None, b"amd", like="amd"),
            "linux/arm64": self.image(None, b"arm", like="arm"),
            "unknown/unknown": self.image(None, b"attestation", like="att"),
        }
        index = self.index("1", children)
        warming = self.warm(":1")
        self.assertEqual(index.digest, warming.images[0].digest)
        self.assertEqual(["linux/amd64", "linux/arm64"], warming.images[0].platforms)
        for data in (b"amd", b"arm", b"attestation"):
            self.assertTrue(self.blob_stored(data))
        self.assertEqual(index, self.now(self.manifests.stored(self.target, index.digest)))

    def test_chosen_platforms(self) -> None:
        """With platforms, only these are fetched, and manifests that may be for any."""
        children = {
            "linux/amd64": self.image(None, b"amd", like="amd"),
            "linux/arm64": self.image(None, b"arm", like="arm"),
            "unknown/unknown": self.image(None, b"attestation", like="att"),
            "-": self.image(None, b"any", like="any"),
        }
        self.index("1", children)
        warming = self.warm(":1", platforms="linux/arm64")
        self.assertEqual(["done"], self.states(warming))
        found = [self.blob_stored(data) for data in (b"amd", b"arm", b"attestation", b"any")]
        self.assertEqual([False, True, False, True], found)

    def test_no_such_platform(self) -> None:
        """An image without the platform has failed; the problem names those that it has."""
        self.index("1", {"linux/amd64": self.image(None, b"amd")})
        warming = self.warm(":1", platforms="linux/s390x")
        self.assertEqual(["failed"], self.states(warming))
        self.assertIn("only linux/amd64", warming.images[0].problems[0])

    def test_indexes_without_end(self) -> None:
        """Indexes in indexes are followed a few levels deep."""
        inner = self.image(None, b"inner")
        for level in range(6):
            inner = self.index(f"level{level}", {"-": inner})
        self.assertEqual(["done"], self.states(self.warm(":level3")))
        warming = self.warm(":level5")
        self.assertIn("too many levels", warming.images[0].problems[0])

    def test_too_many_manifests(self) -> None:
        """An image has a bounded number of manifests."""
        self.warm_limits = WarmLimits(manifests=3)
        self.restart()
        names = ("a", "b", "c")
        self.index("1", {f"linux/{n}": self.image(None, like=n) for n in names})
        warming = self.warm(":1")
        self.assertIn("more than 3 manifests", warming.images[0].problems[0])

    def test_same_layer_twice(self) -> None:
        """A layer that platforms of an image share counts once for it."""
        children = {f"linux/{n}": self.image(None, b"base", like=n) for n in ("a", "b")}
        self.index("1", children)
        (image,) = self.warm(":1").images
        self.assertEqual((3, 3, 3), (image.blobs, image.blobs_stored, image.manifests))
        self.assertEqual(image.bytes, image.bytes_stored)
        self.assertEqual(set(), image.known)

    def test_many_layers(self) -> None:
        """When many layers wait, they are fetched before more manifests are."""
        self.warm_limits = WarmLimits(blobs=4)
        self.restart()
        images = [self.image(f"v{number}", b"layer %d" % number) for number in range(6)]
        self.warm(*(f":v{number}" for number in range(6)), jobs=1)
        order = [asked.split()[-1] for asked in self.upstream.asked]
        first = order.index(str(images[0].blobs[0].digest))
        self.assertLess(first, order.index("v5"))

    def test_foreign_layers(self) -> None:
        """A layer that registries need not have is fetched if there is one, and not missed if not."""
        self.image("1", b"foreign", media_type=FOREIGN)
        self.assertEqual(["done"], self.states(self.warm(":1")))
        self.assertTrue(self.blob_stored(b"foreign"))
        self.image("2", b"elsewhere", media_type=FOREIGN)
        del self.upstream.blobs[str(Digest.of(b"elsewhere"))]
        warming = self.warm(":2")
        self.assertEqual(["done"], self.states(warming))
        self.assertIn("does not distribute", warming.images[0].notes[0])

    def test_schema_1(self) -> None:
        """The layers of a schema 1 manifest are fetched."""
        layers = [
            {"blobSum": str(self.upstream.add_blob(data))} for data in (b"one", b"two", b"one")
        ]
        raw = json.dumps({"schemaVersion": 1, "fsLayers": layers}).encode()
        manifest = manifest_of(raw, DOCKER_SCHEMA1)
        self.upstream.manifests["1"] = self.upstream.manifests[str(manifest.digest)] = manifest
        self.assertEqual(["done"], self.states(self.warm(":1")))
        self.assertTrue(self.blob_stored(b"one") and self.blob_stored(b"two"))

    def test_artifact(self) -> None:
        """The blobs of an artifact are fetched; a manifest that cannot be read has failed."""
        self.image("1", b"chart", media_type="application/vnd.cncf.helm.chart.content.v1.tar+gzip")
        self.assertEqual(["done"], self.states(self.warm(":1")))
        self.upstream.add(b'{"schemaVersion":2,"mediaType":"%s"}' % OCI_MANIFEST.encode(), "2")
        self.assertIn("cannot be read", self.warm(":2").images[0].problems[0])

    def test_stale_tag(self) -> None:
        """A stale tag whose upstream fails is warmed as it is stored, with a note."""
        self.image("1", b"one")
        self.warm(":1")
        self.clock.advance(4000)
        self.upstream.error = BadGateway("it is down")
        warming = self.warm(":1")
        self.assertEqual(["done"], self.states(warming))
        self.assertIn("is unavailable", warming.images[0].notes[0])


class Trouble(WarmTestCase):
    """What fails, waits or ends early."""

    def test_missing(self) -> None:
        """What is missing is named, and the other images are fetched."""
        self.image("1", b"one")
        lost = self.image("2", b"two")
        del self.upstream.blobs[str(lost.blobs[1].digest)]
        warming = self.warm(":1", ":2", ":3")
        self.assertEqual(["done", "failed", "failed"], self.states(warming))
        self.assertIn(str(lost.blobs[1].digest), warming.images[1].problems[0])
        self.assertIn("does not have 3", warming.images[2].problems[0])
        counts = [warming.count(state) for state in (ImageState.DONE, ImageState.FAILED)]
        self.assertEqual([1, 2], counts)

    def test_unknown_registry(self) -> None:
        """A registry that is not mirrored fails with the reason."""
        warming = self.warmer.begin([parse_image("other.example/app")])
        self.go()
        self.assertIn("is not configured", warming.images[0].problems[0])
        nothing = self.warmer.begin([])
        self.go()
        self.assertTrue(nothing.ended)

    def test_reserve(self) -> None:
        """Nothing is requested from the reserve: what is stored is done, the rest is left, with the reason."""
        self.image("1", b"one")
        self.image("2", b"two")
        self.warm(":1")
        self.upstream.capacity = Spare(Capacity.RESERVED, "10 of 100 requests are left")
        asked = len(self.upstream.asked)
        warming = self.warm(":1", ":2")
        self.assertEqual(["done", "left"], self.states(warming))
        self.assertEqual(asked, len(self.upstream.asked))
        self.assertEqual({"example.com": "10 of 100 requests are left"}, dict(warming.reserved))

    def test_rate_limited(self) -> None:
        """An image whose upstream is rate limited is left."""
        self.image("1", b"one")
        self.upstream.get_error = RateLimited("too many requests", 60)
        self.assertEqual(["left"], self.states(self.warm(":1")))

    def test_busy(self) -> None:
        """While clients need the upstream, nothing is requested; later it is."""
        self.image("1", b"one")
        self.upstream.capacity = BUSY
        warming = self.begin(":1")
        self.go()
        self.assertEqual([], self.upstream.asked)
        self.upstream.capacity = FREE
        for _ in range(10):
            self.go(seconds=0.3)
        self.assertEqual(["done"], self.states(warming))

    def test_busy_mirror(self) -> None:
        """While the mirror has too much to do itself, requests are repeated."""
        self.image("1", b"one")
        self.upstream.get_error = TooManyRequests.retry_after("too many requests wait", 5)
        warming = self.begin(":1")
        self.go()
        self.assertEqual(["running"], self.states(warming))
        self.upstream.get_error = None
        self.go(seconds=6)
        self.assertEqual(["done"], self.states(warming))

    def test_stored_meanwhile(self) -> None:
        """What a client has fetched while this waited for its turn is not fetched again."""
        self.image("1", b"one")
        self.upstream.capacity = BUSY
        warming = self.begin(":1")
        self.go()
        self.now(self.manifests.get(self.target, self.upstream.manifests["1"].digest))
        opened = self.now(self.blobs.open(self.target, Digest.of(b"one"), 0))
        opened.close()
        self.upstream.capacity = FREE
        for _ in range(10):
            self.go(seconds=0.3)
        self.assertEqual(["done"], self.states(warming))
        self.assertEqual(1, self.upstream.asked.count(f"GET library/app {Digest.of(b'one')}"))

    def test_cancel(self) -> None:
        """A download that has begun continues after cancelling; nothing else is requested."""
        self.image("1", b"one", b"two", b"three")
        self.upstream.manual = True
        warming = self.begin(":1", jobs=1)
        self.go()
        self.assertEqual(1, len(self.upstream.bodies))
        self.assertEqual(["running"], self.states(warming))
        warming.cancel()
        warming.cancel()
        self.assertEqual((["cancelled"], True), (self.states(warming), warming.ended))
        body = self.upstream.bodies[0]
        body.send(body.data)
        body.end()
        self.go()
        self.assertTrue(self.blob_stored(body.data))
        self.assertEqual(1, len(self.upstream.bodies))
        self.upstream.manual = False
        again = self.warm(":1")
        self.assertEqual((["done"], 3), (self.states(again), again.images[0].fetched))
        self.assertEqual(len(set(self.upstream.asked)), len(self.upstream.asked))

    def test_joined_by_client(self) -> None:
        """A client joins a download that was begun for nobody."""
        self.image("1", b"one")
        self.upstream.manual = True
        self.begin(":1", jobs=1)
        self.go()
        body = self.upstream.bodies[0]
        opened = self.now(self.blobs.open(self.target, Digest.of(body.data), 0))
        self.assertEqual("joined", opened.outcome.value)
        opened.close()
        self.assertEqual(1, len(self.upstream.bodies))

    def test_evicted(self) -> None:
        """An image that is not stored any more when the others are has failed; looking is no use of it."""
        first, second = self.image("1", b"one"), self.image("2", b"two")
        self.upstream.manual = True
        warming = self.begin(":1", ":2", jobs=8)
        self.go()
        bodies = {body.data: body for body in self.upstream.bodies}
        waiting = bodies.pop(b"two")
        for body in bodies.values():
            body.send(body.data)
            body.end()
        self.go()
        self.assertEqual(["done", "running"], self.states(warming))
        self.now(self.manifest_store.delete("example.com", first.digest))
        self.clock.advance(100)
        before = self.clock.seconds()
        waiting.send(waiting.data)
        waiting.end()
        self.go()
        self.assertEqual(["failed", "done"], self.states(warming))
        self.assertIn("not stored any more", warming.images[0].problems[0])
        self.assertFalse(self.manifest_store.used_since("example.com", second.digest, before))

    def test_unreadable_in_the_end(self) -> None:
        """A store that cannot be read in the end says nothing about what was stored."""
        manifest = self.image("1", b"one")
        self.warm(":1")
        warming = self.begin(":1")
        self.manifest_store.drop("example.com", manifest.digest)
        self.patch(self.manifest_store, "peek", lambda *_: fail(StoreError("it is broken")))
        self.go()
        self.assertEqual(["done"], self.states(warming))

    def test_faults_in_the_end(self) -> None:
        """Whatever fails while complete images are looked at, the warming ends."""
        self.image("1", b"one")
        for error in (ValueError("a fault"), NameUnknown("it is not configured any more")):
            warming = self.begin(":1")
            self.patch(self.manifest_store, "peek", lambda *_, error=error: fail(error))
            self.go()
            self.assertEqual((["done"], True), (self.states(warming), warming.ended))
        self.flushLoggedErrors(ValueError)

    def test_progress(self) -> None:
        """The bytes of running downloads are counted, and changes are told."""
        self.image("1", bytes(100_000))
        self.upstream.manual = True
        warming = self.begin(":1", jobs=2)
        seen: list[WarmImage] = []
        end = warming.watch(seen.append)
        waiting = warming.wait()
        self.go()
        self.upstream.bodies[1].send(bytes(70_000))
        self.assertEqual(70_000, warming.bytes_received)
        self.assertNoResult(waiting)
        for body, rest in zip(self.upstream.bodies, (None, bytes(30_000)), strict=True):
            body.send(body.data if rest is None else rest)
            body.end()
        self.go()
        self.clock.advance(1)
        self.go()
        self.assertEqual((["done"], 0), (self.states(warming), warming.bytes_received))
        self.successResultOf(waiting)
        self.successResultOf(warming.wait())
        self.assertIs(warming.images[0], seen[-1])
        end()
        end()

    def test_limits(self) -> None:
        """Images and jobs are bounded, one warming runs at a time, and only the latest are remembered."""
        self.warm_limits = WarmLimits(images=2, jobs=3, kept=2)
        self.restart()
        self.image("1", b"one")
        with self.assertRaises(TooMuch):
            self.begin(":1", ":2", ":3")
        for jobs in (0, 4):
            with self.assertRaises(TooMuch):
                self.begin(":1", jobs=jobs)
        first = self.warm(":1", ":1", jobs=3)
        self.assertEqual(1, len(first.images))
        self.upstream.capacity = BUSY
        second = self.begin(":2", jobs=1)
        error = self.assertRaises(AlreadyRunning, self.begin, ":1", jobs=1)
        self.assertIn("already warming images (run 2, 0 of 1 done)", str(error))
        self.warmer.stop()
        self.assertTrue(second.ended)
        third = self.begin(":1", jobs=1)
        self.assertEqual(["cancelled"], self.states(third))
        self.assertIs(third, self.warmer.latest)
        found = [self.warmer.find(each.number) for each in (first, second, third)]
        self.assertEqual([None, second, third], found)
