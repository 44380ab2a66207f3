"""Images in the order of a number, and what is known of the next ones to go."""

from __future__ import annotations

from oci_registry.account.ranking import Ranked, as_image, ranked_after
from oci_registry.account.victims import queue_lengths, victim
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import manifest_key
from tests.unit.account.support import HUB, OWN, PlansTestCase


class Rankings(PlansTestCase):
    """A store with some images."""

    def ranked(self, size: int = 0, pulls: int = 0, count: int = 100) -> list[Ranked]:
        found, last = [], 0
        while True:
            rows, after = self.ask(ranked_after(last, count, size, pulls))
            found += rows
            if after is None:
                return found
            last = after

    def named(self, ranked: Ranked) -> tuple[str | None, ...]:
        listed = self.ask(as_image(ranked))
        assert listed is not None
        return listed.host, listed.repository, listed.tag

    def bytes_of(self, *digests: Digest) -> int:
        """Return what is stored at some digests."""
        keys = {str(digest.encoded) for digest in digests}
        objects = self.driver._objects.items()
        return sum(info.size for key, (_, info) in objects if key.replace("/", "")[-64:] in keys)

    def test_sizes(self) -> None:
        """An image has the size of its manifest and its blobs; an index that of all below it, each once."""
        shared, other = self.blob(b"s" * 1000), self.blob(b"o" * 3000)
        first, second = self.image(shared), self.image(shared, other)
        index = self.image(first, second, index=True)
        self.tag("1", index)
        (found,) = self.ranked()
        self.assertEqual(self.bytes_of(index, first, second, shared, other), found.size)
        self.assertEqual((HUB, "a/b", "1"), self.named(found))

    def test_own_images(self) -> None:
        """A part of an image is listed only if it has a tag of its own; registries stay apart."""
        layer = self.blob(b"layer")
        part = self.image(layer)
        self.image(part, index=True)
        self.image(layer, host=OWN)
        self.assertEqual(2, len(self.ranked()))
        self.tag("part", part)
        self.assertEqual(3, len(self.ranked()))
        self.assertEqual({HUB, OWN}, {self.named(one)[0] for one in self.ranked()})

    def test_more_than(self) -> None:
        """Only images that have more of something are returned, however few are looked at together."""
        images = [self.image(self.blob(b"x" * size)) for size in (100, 2000, 30_000)]
        self.account.used(manifest_key(HUB, images[0]), self.clock.seconds() + 1000)
        for count in (1, 2, 100):
            large = self.ranked(size=5000, pulls=100, count=count)
            pulled = self.ranked(size=10**9, count=count)
            digests = [self.ask(as_image(one)).digest for one in (*large, *pulled)]  # type: ignore[union-attr]
            self.assertEqual([images[2], images[0]], digests)

    def test_gone(self) -> None:
        """What was removed meanwhile is no image."""
        image = self.image(self.blob(b"layer"))
        (found,) = self.ranked()
        self.successResultOf(self.observed.delete(manifest_key(HUB, image)))
        self.assertIsNone(self.ask(as_image(found)))

    def test_bounded(self) -> None:
        """No more manifests are read than are asked for, and none is sorted."""
        layer = self.blob(b"layer")
        self.tag("1", self.image(self.image(layer), index=True))
        plan = self.plans(ranked_after(0, 10, 0, 0))
        self.assertIn("SEARCH m USING INTEGER PRIMARY KEY (rowid>?)", plan)
        self.assertNotIn("ORDER BY", plan)
        self.assertNotRegex(plan, r"SCAN (?!\(subquery|CONSTANT)")

    def test_queues(self) -> None:
        """The lengths of queues are counted in an index, and what is known of a victim is looked up."""
        image = self.image(self.blob(b"layer"))
        self.assertEqual({0: 1}, self.ask(queue_lengths()))
        self.assertIn("USING COVERING INDEX manifests_queue", self.plans(queue_lengths()))
        self.assertNotIn("TEMP B-TREE", self.plans(queue_lengths()))
        plan = self.plans(victim([1], [], 0)) + self.plans(victim([], [1], 0))
        self.assertNotRegex(plan, r"SCAN (?!\(subquery|CONSTANT|j |named)")
        self.assertIsNone(self.ask(victim([], [], 0)))
        self.assertIsNone(self.ask(victim([99], [], 0)))
        self.assertIsNone(self.ask(victim([], [99], 0)))
        found = self.ask(victim([1], [], 7))
        assert found is not None
        self.assertEqual((HUB, None, image, 7), (found.host, found.tag, found.digest, found.frees))
