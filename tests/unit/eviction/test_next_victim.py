"""What would be evicted next, without evicting it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.account.nouns import MAIN, PROBATION
from oci_registry.account.victims import Victim
from oci_registry.eviction.evictor import LOOSE_FOR
from oci_registry.eviction.limit import LOW, StoreLimit
from oci_registry.eviction.plan import Blob, Image, Snapshot
from oci_registry.eviction.preview import Standing, estimated, next_victim, standing
from oci_registry.eviction.store_use import Limits
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.interfaces import Space
from tests.unit.account.support import HUB
from tests.unit.eviction.test_evictor import BLOCK, EvictionTestCase


class NextVictim(EvictionTestCase):
    """It is what an eviction then evicts."""

    def setUp(self) -> None:
        super().setUp()
        self.limit = self.limited(Limits(parse_size("1GiB")))

    def limited(self, limits: Limits) -> StoreLimit:
        return StoreLimit(
            self.account, self.evictor, self.observed, self.clock, self.metrics, limits
        )

    def next(self) -> Victim | None:
        before = self.rows("manifests"), self.rows("blobs")
        found: Victim | None = self.result(next_victim(self.account, self.limit))
        self.assertEqual(before, (self.rows("manifests"), self.rows("blobs")))
        return found

    def known(self) -> Victim:
        found = self.next()
        assert found is not None
        return found

    def test_oldest(self) -> None:
        """Of images that were pulled once it is the oldest, with its tag, its size, and its last use."""
        first, second = self.pulled(b"first"), self.pulled(b"second")
        found = self.known()
        self.assertEqual((first, "first", PROBATION), (found.digest, found.tag, found.queue))
        self.assertEqual((HUB, "a/b"), (found.host, found.repository))
        self.assertEqual((2 * BLOCK, 2 * BLOCK), (found.size, found.frees))
        ((used,),) = self.ask(
            lambda books: books.sql.execute("SELECT min(used) FROM manifests").fetchall()
        )
        self.assertEqual(used, found.used)
        self.assertEqual(1, self.free(1).images)
        self.assertFalse(self.has(first))
        self.assertEqual(second, self.known().digest)

    def test_shared(self) -> None:
        """What another image needs is part of its size, and not freed."""
        base = self.blob(b"base")
        self.pulled(b"first", base)
        self.pulled(b"second", base)
        found = self.known()
        self.assertEqual((3 * BLOCK, 2 * BLOCK), (found.size, found.frees))

    def test_pulled_again(self) -> None:
        """An image that was pulled again has a turn more; in the end it is evicted too."""
        first, second = self.pulled(b"first"), self.pulled(b"second")
        self.pull(first)
        self.assertEqual(second, self.known().digest)
        self.free(1)
        found = self.known()
        self.assertEqual((first, MAIN), (found.digest, found.queue))

    def test_index(self) -> None:
        """An image goes with the index that names it, under whose tag it is known."""
        child = self.image(self.blob(b"layer"))
        self.clock.advance(1)
        index = self.image(child, index=True)
        self.tag("whole", index)
        found = self.known()
        self.assertEqual((index, "whole"), (found.digest, found.tag))
        self.assertEqual(3 * BLOCK, found.size)

    def test_loose_blob(self) -> None:
        """A blob that no manifest names goes first, when it is old enough."""
        self.pulled(b"image")
        loose = self.blob(b"loose")
        self.assertNotEqual(loose, self.known().digest)
        self.clock.advance(LOOSE_FOR + 1)
        found = self.known()
        self.assertEqual((loose, None, None), (found.digest, found.host, found.queue))
        self.assertEqual((BLOCK, BLOCK), (found.size, found.frees))

    def test_kept(self) -> None:
        """It is nothing that is pinned, in use, or of a registry that is kept forever."""
        pinned = self.pulled(b"pinned")
        self.successResultOf(self.pins.add(parse_image("docker.io/a/b:pinned")))
        self.pulled(b"busy")
        self.busy.add(Digest.of(b"busy"))
        last = self.pulled(b"last")
        self.assertEqual(last, self.known().digest)
        self.assertNotEqual(pinned, self.known().digest)
        self.evictor.is_forever = lambda host: host == HUB
        self.assertIsNone(self.next())

    def test_not_known(self) -> None:
        """Without a complete account it is not known; nor is it where nothing is stored."""
        self.assertIsNone(self.next())
        self.pulled(b"image")
        self.assertIsNotNone(self.next())
        self.limit = self.limited(Limits())
        self.assertIsNone(self.next())
        self.limit = self.limited(Limits(free=parse_size("1GiB")))
        self.assertIsNotNone(self.next())
        self.patch(type(self.account), "is_complete", property(lambda _: False))
        self.assertIsNone(self.next())


class Sizes(SynchronousTestCase):
    """The sizes of queues whose heads alone are known."""

    def test_estimated(self) -> None:
        """They are those of so many images like the known ones; a short queue has its exact size."""
        images = {1: Image(1, 1, PROBATION, blobs=frozenset({10, 11})), 2: Image(2, 3, MAIN),
                  3: Image(3, 5, MAIN, blobs=frozenset({99}))}  # fmt: skip
        blobs = {10: Blob(10, 100, 1), 11: Blob(11, 200, 1)}
        snapshot = Snapshot(images, blobs, (1,), (2, 3))
        found = estimated(snapshot, {PROBATION: 1, MAIN: 1000}).sizes
        self.assertEqual((301, 4000), found[:2])
        self.assertEqual((0, 0), estimated(Snapshot({}, {}), {}).sizes[:2])


class Standings(EvictionTestCase):
    """How a store stands to its limits."""

    def test_stored(self) -> None:
        """What is stored, and the limits in bytes, as far as they are known."""
        self.pulled(b"image")

        def see(space: Space | None, **limits: str) -> Standing:
            parsed = {name: parse_size(text) for name, text in limits.items()}
            limit = StoreLimit(
                self.account,
                self.evictor,
                self.observed,
                self.clock,
                self.metrics,
                Limits(**parsed),
            )
            return standing(limit, space)

        found = see(None, most="1GiB", free="1MiB")
        self.assertGreater(found.stored or 0, 2 * BLOCK)
        self.assertEqual((2**30, int(LOW * 2**30), 2**20), (found.most, found.low, found.min_free))
        found = see(None, most="50%", free="10%")
        self.assertEqual((None, None, None), (found.most, found.low, found.min_free))
        found = see(Space(10, 1000), most="50%", free="10%")
        self.assertEqual((500, int(LOW * 500), 100), (found.most, found.low, found.min_free))
        found = see(Space(10, 1000))
        self.assertEqual((None, None, None), (found.most, found.low, found.min_free))
        self.patch(type(self.account), "is_complete", property(lambda _: False))
        self.assertIsNone(see(None).stored)
