"""Evictions of whole images from a store that has an account."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.account.images import registry_size
from oci_registry.eviction.evictor import LOOSE_FOR, Evicted, Evictor
from oci_registry.eviction.pinned import PinnedImages, PinPatterns
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.spec.patterns import parse_pattern
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.pins import Pins
from oci_registry.storage.tags import TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from tests.support.account import settle
from tests.support.streams import run_at_once
from tests.unit.account.support import HUB, OWN, AccountTestCase

BLOCK = 4096


class EvictionTestCase(AccountTestCase):
    """A store whose blobs take a block each, as its manifests do."""

    def setUp(self) -> None:
        super().setUp()
        self.busy: set[Digest] = set()
        usage = Usage(self.observed, self.clock)
        self.blobs = BlobStore(self.observed, usage, run_at_once, check_always=False)
        manifests = ManifestStore(self.observed, usage, ManifestReader(run_at_once))
        self.pins = Pins(self.observed)
        self.holds = HoldStore(self.observed)
        self.pinned = PinnedImages(self.pins, holds=self.holds)
        self.evictor = Evictor(
            self.account,
            self.blobs,
            manifests,
            TagStore(self.observed),
            self.pinned,
            self.busy.__contains__,
            self.clock.seconds,
            self.metrics,
        )

    def free(self, blocks: int) -> Evicted:
        return self.result(self.evictor.free(blocks * BLOCK))

    def has(self, digest: Digest, host: str = HUB) -> bool:
        keys = blob_key(digest), manifest_key(host, digest)
        return any(key in self.driver._objects for key in keys)

    def pulled(self, name: bytes, *shared: Digest, host: str = HUB) -> Digest:
        """Store an image with a layer of its own, and a tag."""
        image = self.image(self.blob(name), *shared, host=host)
        self.tag(name.decode(), image, host)
        self.clock.advance(1)
        self.successResultOf(self.account.flush())
        return image

    def pull(self, image: Digest) -> None:
        """Pull an image again, later."""
        self.clock.advance(100)
        self.account.used(manifest_key(HUB, image), self.clock.seconds())
        self.successResultOf(self.account.flush())


class Evictions(EvictionTestCase):
    """What is evicted, and what stays."""

    def test_oldest(self) -> None:
        """The oldest image is evicted completely, with its tags, and no more than is needed."""
        images = [self.pulled(name) for name in (b"a", b"b", b"c")]
        self.assertEqual(self.free(2), Evicted(1, 1, 2 * BLOCK))
        self.assertEqual([self.has(image) for image in images], [False, True, True])
        self.assertFalse(self.has(Digest.of(b"a")))
        self.assertEqual(sum("_tags" in key for key in self.driver._objects), 2)
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(self.free(3).images, 2)

    def test_listener(self) -> None:
        """A listener is called with what was evicted, and not if that is nothing."""
        told: list[Evicted] = []
        self.evictor.evicted = told.append
        self.free(1)
        self.assertEqual([], told)
        self.pulled(b"a")
        self.assertEqual([self.free(1)], told)

    def test_announced(self) -> None:
        """Others learn which tags and manifests are gone, before the blobs are removed."""
        told: list[str] = []

        async def announce(keys: Sequence[str]) -> None:
            told.extend(keys)
            self.assertTrue(self.has(Digest.of(b"a")))
            self.assertFalse(set(keys) & set(self.driver._objects))

        self.evictor.announcements.announce = announce
        image = self.pulled(b"a")
        self.free(2)
        self.assertEqual([tag_key(HUB, "a/b", "a"), manifest_key(HUB, image)], told)

    def test_not_announced(self) -> None:
        """While others cannot be told, no blob of the image is removed; later they are told."""
        told: list[str] = []

        async def refuse(_: Sequence[str]) -> None:
            raise StoreError("gone")

        async def announce(keys: Sequence[str]) -> None:
            told.extend(keys)

        self.evictor.announcements.announce = refuse
        image = self.pulled(b"a")
        self.assertEqual(0, self.free(2).blobs)
        self.assertTrue(self.has(Digest.of(b"a")))
        self.evictor.announcements.announce = announce
        self.clock.advance(LOOSE_FOR + 1)
        self.assertEqual(1, self.free(1).blobs)
        self.assertIn(manifest_key(HUB, image), told)

    def test_pulled_again(self) -> None:
        """An image that was pulled twice outlives those that were pulled once, whatever their age."""
        hot = self.pulled(b"hot")
        self.pull(hot)
        cold = [self.pulled(b"%d" % number) for number in range(30)]
        self.free(58)
        self.assertTrue(self.has(hot))
        self.assertEqual(sum(map(self.has, cold)), 1)

    def test_ghost(self) -> None:
        """An image that is stored again after its eviction enters the main queue at once."""
        first = self.pulled(b"first")
        self.free(2)
        for number in range(3):
            self.pulled(b"%d" % number)
        self.pulled(b"first")
        self.free(6)
        self.assertTrue(self.has(first))

    def test_shared(self) -> None:
        """A blob stays while an image of any registry needs it."""
        base = self.blob(b"base")
        self.pulled(b"a", base)
        other = self.pulled(b"b", base, host=OWN)
        self.free(2)
        self.assertTrue(self.has(base) and self.has(other, OWN))
        self.free(3)
        self.assertEqual(self.summed(), (0, 0))

    def test_index(self) -> None:
        """An index goes with its images, and not before."""
        amd = self.image(self.blob(b"amd"))
        index = self.image(amd, Digest.of(b"arm, which nobody pulls"), index=True)
        self.tag("1", index)
        other = self.pulled(b"other")
        self.assertEqual(self.free(1).images, 2)
        self.assertEqual([self.has(one) for one in (amd, index, other)], [False, False, True])
        self.assertEqual(sum("_tags" in key for key in self.driver._objects), 1)

    def test_in_use(self) -> None:
        """What is being read, downloaded or pinned stays, and the rest goes."""
        images = [self.pulled(name) for name in (b"read", b"busy", b"pinned", b"idle")]
        reader = self.result(self.blobs.open(Digest.of(b"read")))
        assert reader is not None
        self.busy.add(Digest.of(b"busy"))
        pin = ImageName(HUB, "a/b", digest=images[2])
        self.result(self.pins.add(pin))
        self.assertEqual(self.free(100), Evicted(1, 1, 2 * BLOCK))
        self.assertEqual([self.has(image) for image in images], [True, True, True, False])
        reader.close()
        self.busy.clear()
        self.clock.advance(1)
        self.result(self.pins.remove(pin))
        self.assertEqual(self.free(100).images, 3)
        self.assertEqual(self.summed(), (0, 0))

    def test_pinned(self) -> None:
        """What a pattern or the operator has pinned stays, with all that it names, from when it is stored."""
        self.pinned.follow(PinPatterns({HUB: [parse_pattern("a/b:keep*")]}, [parse_pattern("a/*")]))
        self.result(self.pins.add(parse_image(f"{HUB}/a/b:mine")))
        amd = self.image(self.blob(b"amd"))
        index = self.image(amd, Digest.of(b"arm, which nobody pulls"), index=True)
        kept = [
            self.pulled(b"keep-1"),
            self.pulled(b"mine"),
            self.pulled(b"other", host=OWN),
            amd,
            index,
        ]
        self.tag("keep-2", index)
        gone = [self.pulled(b"kee"), self.pulled(b"mine-2")]
        self.assertEqual(self.free(100), Evicted(2, 2, 4 * BLOCK))
        hosts = [HUB, HUB, OWN, HUB, HUB]
        self.assertTrue(all(map(self.has, kept, hosts)))
        self.assertFalse(any(map(self.has, gone)))
        # The tag that was pinned means something else now: what it has meant before is not pinned.
        self.tag("mine", index)
        self.assertEqual(self.free(100).images, 1)
        self.assertFalse(self.has(kept[1]))

    def test_held(self) -> None:
        """What a tag is held at stays until it is released, with all that it names; also after a restart."""
        amd = self.image(self.blob(b"amd"))
        index = self.image(amd, index=True)
        others = [self.pulled(b"now"), self.pulled(b"older")]
        self.result(self.holds.put(HUB, "a/b", "now", index, self.clock.seconds()))
        # The daemon has started just now, and has not read the holds yet.
        self.pinned = PinnedImages(self.pins, holds=HoldStore(self.observed))
        self.patch(self.evictor, "_pinned", self.pinned)
        self.assertEqual(self.free(100), Evicted(2, 2, 4 * BLOCK))
        self.assertTrue(self.has(index) and self.has(amd) and self.has(Digest.of(b"amd")))
        self.assertFalse(any(map(self.has, others)))
        self.patch(self.evictor, "_pinned", PinnedImages(self.pins, holds=self.holds))
        self.result(self.holds.remove(HUB, "a/b", "now"))
        self.assertEqual(self.free(100).images, 2)

    def test_unreadable_pins(self) -> None:
        """If the pins cannot be read, nothing is evicted."""
        image = self.pulled(b"a")
        self.successResultOf(self.account.flush())
        self.patch(self.driver, "walk", self.failing)
        self.assertEqual(self.free(100), Evicted())
        self.assertTrue(self.has(image))

    def failing(self, prefix: str) -> None:
        raise StoreError(f"cannot list {prefix}")

    def test_one_registry(self) -> None:
        """Images of one registry are evicted; a blob that others need stays, and counts as given up."""
        base = self.blob(b"base")
        older = self.pulled(b"older", base, host=OWN)
        mine = [self.pulled(name, base) for name in (b"a", b"b")]
        self.assertEqual(self.ask(registry_size(HUB)), 5 * BLOCK)
        freed = self.result(self.evictor.free(5 * BLOCK, HUB))
        self.assertEqual(freed, Evicted(2, 2, 5 * BLOCK))
        self.assertFalse(any(map(self.has, mine)))
        self.assertTrue(self.has(base) and self.has(older, OWN))
        self.assertEqual([self.ask(registry_size(host)) for host in (HUB, OWN)], [0, 3 * BLOCK])
        self.assertEqual(self.result(self.evictor.free(1, "quay.io")), Evicted())

    def test_offline(self) -> None:
        """Images of a registry that is offline stay, also without a layer for which there was no room."""
        self.evictor.candidates = 20
        missing = Digest.of(b"missing")
        offline = [self.pulled(b"%d" % number, missing, host=OWN) for number in range(25)]
        image = self.pulled(b"a")
        self.evictor.is_forever = OWN.__eq__
        self.assertEqual(self.free(1000), Evicted(1, 1, 2 * BLOCK))
        dropped = Deferred.fromCoroutine(self.evictor.drop_incomplete([missing]))
        self.assertEqual(self.successResultOf(dropped), 0)
        self.assertEqual(self.has(image), False)
        self.assertTrue(all(self.has(one, OWN) for one in offline))

    def test_being_pulled(self) -> None:
        """An image stays while one of its layers is being downloaded, though none is stored."""
        layer = Digest.of(b"layer")
        image = self.image(layer)
        other = self.pulled(b"a")
        self.busy.add(layer)
        self.assertEqual(self.free(100), Evicted(1, 1, 2 * BLOCK))
        self.assertEqual([self.has(one) for one in (image, other)], [True, False])
        self.busy.clear()
        self.assertEqual(self.free(100), Evicted(1, 0, BLOCK))

    def test_loose(self) -> None:
        """A blob that no manifest names goes first, but not within a minute: its manifest may come."""
        loose = self.blob(b"loose")
        image = self.pulled(b"a")
        self.assertEqual(self.free(1).images, 1)
        self.assertTrue(self.has(loose))
        again = self.pulled(b"b")
        self.clock.advance(61)
        self.assertEqual(self.free(1), Evicted(0, 1, BLOCK))
        self.assertEqual([self.has(one) for one in (image, loose, again)], [False, False, True])

    def test_loose_last(self) -> None:
        """If images are not enough, a blob that no manifest has named for some seconds goes too."""
        older = self.blob(b"older")
        image = self.pulled(b"a")
        self.clock.advance(5)
        newer = self.blob(b"newer")
        self.clock.advance(7)
        self.assertEqual(self.free(2), Evicted(1, 1, 2 * BLOCK))
        self.assertEqual([self.has(one) for one in (image, older, newer)], [False, True, True])
        self.assertEqual(self.free(2), Evicted(0, 1, BLOCK))
        self.assertEqual([self.has(one) for one in (older, newer)], [False, True])
        reader = self.result(self.blobs.open(newer))
        assert reader is not None
        self.clock.advance(11)
        self.assertEqual(self.free(2), Evicted())
        reader.close()
        self.assertEqual(self.free(2), Evicted(0, 1, BLOCK))

    def test_loose_in_shared(self) -> None:
        """If others write to the store too, such a blob goes first only after an hour, as imports go on."""
        self.evictor.compare_first = True
        imported = self.blob(b"imported")
        images = [self.pulled(b"%d" % number) for number in range(3)]
        self.wait(120)
        self.assertEqual(Evicted(1, 1, 2 * BLOCK), self.freed(2))
        self.assertTrue(self.has(imported))
        self.wait(3600)
        self.assertEqual(Evicted(0, 1, BLOCK), self.freed(1))
        self.assertEqual([False, False, True, True], [self.has(x) for x in (imported, *images)])

    def test_manifest_of_another(self) -> None:
        """A blob stays if another process may have stored its manifest since the comparison began."""
        self.evictor.compare_first = True
        self.evictor.is_forever = {OWN}.__contains__
        for number in range(100):
            self.image(Digest.of(b"%d" % number), host=OWN)
        limits = self.account._limits
        self.account._limits = evolve(limits, pause=50.0)
        freeing = Deferred.fromCoroutine(self.evictor.free(BLOCK))
        blob = self.blob(b"a")
        self.clock.advance(50)
        self.assertNoResult(freeing)
        self.account._limits = limits
        self.clock.advance(50)
        settle(self.account, self.clock)
        self.assertEqual((Evicted(), True), (self.successResultOf(freeing), self.has(blob)))
        self.assertEqual(Evicted(0, 1, BLOCK), self.freed(1))

    def freed(self, blocks: int) -> Evicted:
        """Free blocks after a comparison."""
        freeing = Deferred.fromCoroutine(self.evictor.free(blocks * BLOCK))
        settle(self.account, self.clock)
        return self.successResultOf(freeing)

    def test_incomplete(self) -> None:
        """Nothing is evicted while the account is not complete."""
        self.pulled(b"a")
        self.account._lost = True
        self.assertEqual(self.free(1).images, 0)

    def test_many(self) -> None:
        """More images than are looked at together are evicted in one round."""
        self.evictor.candidates = 20
        for number in range(50):
            self.image(self.blob(b"%d" % number))
        self.assertEqual(self.free(100), Evicted(50, 50, 100 * BLOCK))
        self.assertEqual(self.summed(), (0, 0))

    def test_lacks_a_blob(self) -> None:
        """An image that lacks a blob which had no room goes, with its index; others stay."""
        missing = Digest.of(b"missing")
        image = self.pulled(b"a", missing)
        index, other = self.image(image, index=True), self.pulled(b"b")
        dropped = Deferred.fromCoroutine(self.evictor.drop_incomplete([missing, Digest.of(b"b")]))
        self.assertEqual(self.successResultOf(dropped), 2)
        self.assertEqual([self.has(one) for one in (image, index, other)], [False, False, True])
        self.assertEqual(sum("_tags" in key for key in self.driver._objects), 1)

    def test_lacks_a_blob_for_want_of_room(self) -> None:
        """If there is no room, the blobs of such an image go too, unless they are needed or in use."""
        missing, busy = Digest.of(b"missing"), self.blob(b"busy")
        alone, shared = self.blob(b"alone"), self.blob(b"shared")
        self.image(missing, alone, shared, busy)
        other = self.image(shared)
        self.busy.add(busy)
        dropped = Deferred.fromCoroutine(self.evictor.drop_incomplete([missing], with_blobs=True))
        self.assertEqual(self.successResultOf(dropped), 1)
        blobs = [self.has(one) for one in (alone, shared, busy, other)]
        self.assertEqual(blobs, [False, True, True, True])

    def test_lacks_a_blob_in_a_shared_store(self) -> None:
        """If others use the store too, its blobs stay at first: the others may have a manifest of them."""
        missing, alone = Digest.of(b"missing"), self.blob(b"alone")
        self.image(missing, alone)
        self.evictor.compare_first = True
        dropped = Deferred.fromCoroutine(self.evictor.drop_incomplete([missing], with_blobs=True))
        self.assertEqual((self.successResultOf(dropped), self.has(alone)), (1, True))

    def test_by_digest(self) -> None:
        """An image without a tag lives by its use like any other."""
        by_digest = self.image(self.blob(b"digest"))
        self.pull(by_digest)
        for number in range(9):
            self.pulled(b"%d" % number)
        self.free(18)
        self.assertTrue(self.has(by_digest))
