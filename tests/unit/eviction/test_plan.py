"""Which images are evicted: cases, and properties of any plan."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.account.nouns import MAIN, NEWEST, PROBATION
from oci_registry.eviction.plan import Blob, Image, Plan, Snapshot, plan


def snapshot(images: list[Image], blobs: dict[int, int], **more: Any) -> Snapshot:
    """Return a store of *images*, in the order of their queues, and of *blobs* of so many bytes.

    *last*: nothing is left but what is kept for the newest tags.
    """
    kept, last = more.pop("reading", ()), more.pop("last", True)
    needed = {number: sum(number in image.blobs for image in images) for number in blobs}
    sizes = [0, 0, 0]
    for image in images:
        sizes[image.queue] += image.size + sum(blobs[number] for number in image.blobs)
    return Snapshot(
        {image.number: image for image in images},
        {n: Blob(n, size, needed[n], n in kept) for n, size in blobs.items()},
        tuple(image.number for image in images if image.queue == PROBATION),
        tuple(image.number for image in images if image.queue == MAIN),
        tuple(number for number in blobs if not needed[number]),
        (sizes[0], sizes[1], sizes[2]),
        tuple(image.number for image in images if image.queue == NEWEST and last),
    )


def image(number: int, *blobs: int, **more: Any) -> Image:
    """Return an image on probation."""
    return Image(number, 1, more.pop("queue", PROBATION), blobs=frozenset(blobs), **more)


def carried_out(store: Snapshot, done: Plan, *, last: bool = True) -> Snapshot:
    """Return the store after a plan."""
    images = {n: one for n, one in store.images.items() if n not in done.images}
    parents = {number for one in images.values() for number in one.parents}
    images = {
        n: evolve(one, is_parent=n in parents, parents=one.parents & set(images))
        for n, one in images.items()
    }
    moved = [evolve(images.pop(n), queue=queue, pulls=pulls) for n, queue, pulls in done.moves]
    moved += [evolve(images.pop(n), queue=NEWEST, pulls=0) for n, _ in done.newest]
    blobs = {n: blob.size for n, blob in store.blobs.items() if n not in done.blobs}
    reading = [n for n, blob in store.blobs.items() if blob.kept]
    # Those that are not moved are in their order still.
    return snapshot([*images.values(), *moved], blobs, reading=reading, last=last)


class Cases(SynchronousTestCase):
    """Small stores."""

    def test_oldest_first(self) -> None:
        """Of images that were pulled once, the oldest goes, and no more than needed."""
        store = snapshot([image(1, 10), image(2, 20), image(3, 30)], {10: 5, 20: 5, 30: 5})
        self.assertEqual(plan(store, 6), Plan((1,), (10,), frozenset({1}), (), 6))
        self.assertEqual(plan(store, 7).images, (1, 2))
        self.assertEqual(plan(store, 0), Plan())

    def test_pulled_again(self) -> None:
        """An image that was pulled again is moved to the main queue."""
        store = snapshot([image(1, 10, pulls=1), image(2, 20)], {10: 5, 20: 5})
        done = plan(store, 1)
        self.assertEqual((done.images, done.moves), ((2,), ((1, MAIN, 0),)))

    def test_main_queue(self) -> None:
        """Images of the main queue go when those on probation have little; each pull is one more turn."""
        store = snapshot(
            [image(1, 10), *(image(n, n * 10, queue=MAIN, pulls=n == 2) for n in (2, 3))],
            {10: 1, 20: 50, 30: 50},
        )
        done = plan(store, 1)
        self.assertEqual((done.images, done.ghosts), ((3,), frozenset()))
        self.assertEqual(done.moves, ((2, MAIN, 0),))

    def test_shared_blob(self) -> None:
        """A blob goes with the last image that needs it."""
        store = snapshot([image(1, 10, 99), image(2, 20, 99)], {10: 5, 20: 5, 99: 100})
        self.assertEqual(plan(store, 6).blobs, (10,))
        self.assertEqual(set(plan(store, 7).blobs), {10, 20, 99})
        self.assertEqual(plan(store, 7).freed, 112)

    def test_index(self) -> None:
        """An index has no turn of its own, and goes with the first of its images."""
        index = image(1, is_parent=True)
        amd, arm = (image(n, n, parents=frozenset({1})) for n in (2, 3))
        store = snapshot([index, amd, arm], {2: 5, 3: 5})
        self.assertEqual(set(plan(store, 1).images), {1, 2})

    def test_kept(self) -> None:
        """What is pinned or being read stays, with all that names it."""
        index = image(1, is_parent=True, kept=True)
        child, read = image(2, 20, parents=frozenset({1})), image(3, 30)
        store = snapshot([index, child, read], {20: 5, 30: 5, 40: 5}, reading=(30, 40))
        done = plan(store, 100)
        self.assertEqual((done.images, done.blobs, done.freed), ((), (), 0))
        self.assertEqual([number for number, _, _ in done.moves], [1, 2, 3])

    def test_scarce(self) -> None:
        """An image whose upstream has little left of its rate limit is not evicted on probation."""
        first, second = image(1, 10, scarce=True), image(2, 20)
        done = plan(snapshot([first, second], {10: 5, 20: 5}), 1)
        self.assertEqual((done.images, done.moves), ((2,), ((1, MAIN, 0),)))
        main = evolve(first, queue=MAIN)
        self.assertEqual(plan(snapshot([main], {10: 5}), 1).images, (1,))

    def test_newest(self) -> None:
        """An image with one of the newest tags gets out of the way, and goes when nothing else is left."""
        store = snapshot([image(1, 10, newest=7), image(2, 20)], {10: 5, 20: 5}, last=False)
        done = plan(store, 100)
        self.assertEqual((done.images, done.moves, done.newest), ((2,), (), ((1, 7),)))
        self.assertEqual(done.sizes, (0, 0, 6))
        store = carried_out(store, done, last=False)
        self.assertFalse(plan(store, 100))
        done = plan(carried_out(store, Plan()), 100)
        self.assertEqual((done.images, done.blobs, done.ghosts), ((1,), (10,), frozenset()))

    def test_newest_pulled(self) -> None:
        """Among those, too, each pull is one more turn."""
        first, second = (image(n, n, queue=NEWEST, newest=7, pulls=n == 1) for n in (1, 2))
        done = plan(snapshot([first, second], {1: 5, 2: 5}), 1)
        self.assertEqual((done.images, done.moves), ((2,), ((1, NEWEST, 0),)))

    def test_newest_index(self) -> None:
        """What an index with one of the newest tags names stays with it."""
        index = image(1, is_parent=True, newest=7)
        amd, arm = (image(n, n, parents=frozenset({1})) for n in (2, 3))
        store = snapshot([amd, index, arm], {2: 5, 3: 5}, last=False)
        done = plan(store, 1)
        self.assertEqual((done.images, done.newest), ((), ((2, 7), (1, 7), (3, 7))))

    def test_loose(self) -> None:
        """A blob that no manifest names goes first."""
        store = snapshot([image(1, 10)], {10: 5, 7: 5})
        self.assertEqual(plan(store, 5), Plan(blobs=(7,), freed=5))


@st.composite
def stores(draw: st.DrawFn) -> Snapshot:
    """Return any store: images that share blobs, indexes of them, pins and readers."""
    blobs = draw(st.dictionaries(st.integers(100, 115), st.integers(0, 50), max_size=12))
    names = (
        st.frozensets(st.sampled_from(sorted(blobs)), max_size=4) if blobs else st.just(frozenset())
    )
    images = [
        Image(
            number,
            draw(st.integers(1, 5)),
            draw(st.sampled_from([PROBATION, MAIN])),
            draw(st.integers(0, 3)),
            draw(st.booleans()) and draw(st.booleans()),
            draw(names),
            newest=draw(st.sampled_from([None, None, 7, 8])),
            scarce=draw(st.booleans()),
        )
        for number in range(1, draw(st.integers(0, 12)) + 1)
    ]
    for child in images:
        # A child is older than its parents, as digests have it.
        later = [one.number for one in images if one.number > child.number]
        if later and draw(st.booleans()):
            parents = draw(st.frozensets(st.sampled_from(later), max_size=2))
            images[child.number - 1] = evolve(child, parents=parents)
    named = {number for one in images for number in one.parents}
    images = [evolve(one, is_parent=one.number in named) for one in images]
    reading = draw(st.lists(st.sampled_from(sorted(blobs)), max_size=3)) if blobs else []
    return snapshot(draw(st.permutations(images)), blobs, reading=reading, last=False)


def removable(store: Snapshot) -> int:
    """Return how many bytes could be freed at all: all but what is kept, and what that holds."""
    stays = {
        n
        for n, one in store.images.items()
        if one.kept or any(store.blobs[blob].kept for blob in one.blobs)
    }
    while True:
        # What a parent that stays names, stays.
        more = {n for n, one in store.images.items() if one.parents & stays}
        # What names others goes with one of them.
        children = {
            n: [c for c, one in store.images.items() if n in one.parents] for n in store.images
        }
        more |= {n for n, named in children.items() if named and stays.issuperset(named)}
        more -= stays
        if not more:
            break
        stays |= more
    held = {blob for n in stays for blob in store.images[n].blobs}
    gone = sum(one.size for n, one in store.images.items() if n not in stays)
    return gone + sum(
        blob.size for n, blob in store.blobs.items() if n not in held and not blob.kept
    )


class Properties(SynchronousTestCase):
    """What holds for any plan."""

    @given(stores(), st.integers(0, 300))
    def test_any_plan(self, store: Snapshot, need: int) -> None:
        """Nothing kept is in a plan, no manifest that stays loses what it has, and no more goes than must."""
        done = plan(store, need)
        for number in done.images:
            one = store.images[number]
            assert not one.kept
            assert not any(store.blobs[blob].kept for blob in one.blobs)
        assert not any(store.blobs[blob].kept for blob in done.blobs)
        stay = [one for number, one in store.images.items() if number not in done.images]
        for one in stay:
            assert not one.blobs & set(done.blobs)
        for number in done.images:
            assert store.images[number].parents <= set(done.images)
        sizes = [store.images[n].size for n in done.images]
        assert done.freed == sum(sizes) + sum(store.blobs[n].size for n in done.blobs)
        assert len(set(done.blobs)) == len(done.blobs)
        assert done.ghosts <= set(done.images)
        moved = {number for number, _, _ in done.moves}
        kept = {number for number, _ in done.newest}
        assert not moved & set(done.images)
        assert not kept & (moved | set(done.images))
        assert len(moved) + len(kept) == done.turns
        if need == 0:
            assert done == Plan()

    @given(stores(), st.integers(0, 300))
    def test_biases(self, store: Snapshot, need: int) -> None:
        """Nothing with one of the newest tags is evicted, nor on probation an image of a limited upstream."""
        done = plan(store, need)
        for number in done.images:
            assert store.images[number].newest is None
        leaves = [one for n in done.images if not (one := store.images[n]).is_parent]
        assert not any(one.queue == PROBATION and one.scarce for one in leaves)

    @given(stores(), st.integers(0, 300))
    def test_enough(self, store: Snapshot, need: int) -> None:
        """Plan after plan, as much is freed as is needed, or as can be; the newest tags go last."""
        kept = {
            n: evolve(one, kept=one.kept or one.newest is not None)
            for n, one in store.images.items()
        }
        others, possible = removable(evolve(store, images=kept)), removable(store)
        freed = 0
        for _ in range(60):
            done = plan(store, need - freed)
            freed += done.freed
            if not done:
                break
            store = carried_out(store, done, last=False)
        assert freed >= min(need, others), (freed, need, others)
        assert freed <= others
        for _ in range(60):
            done = plan(carried_out(store, Plan()), need - freed)
            freed += done.freed
            if not done:
                break
            store = carried_out(store, done)
        assert freed >= min(need, possible), (freed, need, possible)
        assert freed <= possible
