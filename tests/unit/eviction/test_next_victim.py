"""What would be evicted next, without evicting it."""

from __future__ import annotations

from typing import Any

from oci_registry.account.nouns import MAIN, PROBATION
from oci_registry.account.victims import Victim
from oci_registry.eviction.evictor import LOOSE_FOR
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from tests.unit.account.support import HUB
from tests.unit.eviction.test_evictor import BLOCK, EvictionTestCase


class NextVictim(EvictionTestCase):
    """It is what an eviction then evicts."""

    def next(self) -> Victim | None:
        before = self.rows("manifests"), self.rows("blobs")
        found: Victim | None = self.result(self.evictor.next_victim())
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
        self.account._lost = True
        self.patch(type(self.account), "is_complete", property(lambda _: False))
        found: Any = self.result(self.evictor.next_victim())
        self.assertIsNone(found)
