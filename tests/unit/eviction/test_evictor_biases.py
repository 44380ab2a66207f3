"""Evictions that keep the newest tags, and images of registries with little left of their rate limits."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.account.books import Books
from oci_registry.account.catalogue import is_among_newest
from oci_registry.account.newest import NewestTags
from oci_registry.account.nouns import NEWEST
from oci_registry.eviction.evictor import Evicted
from oci_registry.eviction.pinned import PinPatterns
from oci_registry.spec.digest import Digest
from oci_registry.spec.patterns import parse_pattern
from tests import examples
from tests.unit.account.support import HUB, OWN
from tests.unit.eviction.test_evictor import BLOCK, EvictionTestCase


class BiasTestCase(EvictionTestCase):
    """A store in which the newest tag of each repository of docker.io is kept until the last."""

    def setUp(self) -> None:
        super().setUp()
        self.evictor.newest = NewestTags({HUB: 1})

    def put(self, name: str, repository: str = "a/b", *shared: Digest) -> Digest:
        """Store an image with a layer of its own, and a tag."""
        image = self.image(self.blob(f"{repository} {name}".encode()), *shared)
        self.tag(name, image, repository=repository)
        self.clock.advance(1)
        self.successResultOf(self.account.flush())
        return image

    def kept(self) -> int:
        """Return how many images are kept for the newest tags."""
        return len(self.rows(f"manifests WHERE queue={NEWEST}"))


class Newest(BiasTestCase):
    """The newest tags."""

    def test_last(self) -> None:
        """An image with the newest tag goes when nothing else is left, however many others there are."""
        self.evictor.candidates = 20
        newest = [self.put("1", f"kept/{number}") for number in range(3)]
        others = [self.put(str(number)) for number in range(50)]
        self.assertEqual(self.free(2 * 49).images, 49)
        self.assertTrue(all(map(self.has, newest)))
        self.assertEqual([others[-1]], list(filter(self.has, others)))

    def test_all(self) -> None:
        """The limit wins: if there is nothing else, they go in their order, and no more than needed."""
        images = [self.put("1", f"a/{number}") for number in range(5)]
        self.assertEqual(self.free(3), Evicted(2, 2, 4 * BLOCK))
        self.assertEqual([False] * 2 + [True] * 3, list(map(self.has, images)))
        self.assertEqual(self.free(100).images, 3)
        self.assertEqual(self.summed(), (0, 0))

    def test_waiting(self) -> None:
        """One that is kept, and then replaced, is evicted before what others have."""
        first, other = self.put("1"), self.put("1", "c/d")
        filler = [self.put(str(number), "e/f") for number in range(3)]
        # Both have had their turn.
        self.assertEqual(self.free(3).images, 2)
        self.assertEqual(2, self.kept())
        second = self.put("2")
        self.assertEqual(self.free(1).images, 1)
        self.assertEqual([False, True, True], list(map(self.has, (first, second, other))))
        self.assertTrue(self.has(filler[-1]))

    def test_index(self) -> None:
        """What the newest tag names stays with it, at any depth."""
        images = [self.image(self.blob(name)) for name in (b"amd", b"arm")]
        index = self.image(*images, index=True)
        self.tag("1", index)
        other = self.put("1", "c/d")
        self.put("2", "c/d")
        self.assertEqual(self.free(1).images, 1)
        self.assertEqual([True] * 3 + [False], list(map(self.has, (*images, index, other))))
        # Then the index goes with the first of its images.
        self.assertEqual(self.free(100).images, 4)

    def test_own_registry(self) -> None:
        """Only the tags of registries count that have the setting."""
        newest = self.put("1")
        foreign = self.pulled(b"1", host=OWN)
        self.assertEqual(self.free(1).images, 1)
        self.assertEqual([True, False], [self.has(newest), self.has(foreign, OWN)])

    def test_one_registry(self) -> None:
        """They also go last if only images of one registry are evicted."""
        self.evictor.newest = NewestTags({}, 1)
        foreign = [self.pulled(name, host=OWN) for name in (b"1", b"2")]
        images = [self.put(name) for name in "12"]
        self.assertEqual(self.result(self.evictor.free(BLOCK, HUB)).images, 1)
        self.assertEqual([False, True], list(map(self.has, images)))
        self.assertEqual(self.result(self.evictor.free(BLOCK, HUB)).images, 1)
        self.assertEqual([True, True], [self.has(one, OWN) for one in foreign])

    def test_pinned(self) -> None:
        """What is pinned stays when the newest tags go."""
        pinned = self.put("1")
        newest = self.put("1", "c/d")
        self.pinned.follow(PinPatterns({HUB: [parse_pattern("a/b")]}))
        self.assertEqual(self.free(100).images, 1)
        self.assertEqual([True, False], [self.has(pinned), self.has(newest)])

    def test_setting(self) -> None:
        """Another number counts from the next eviction on."""
        images = [self.put(name) for name in "123"]
        self.evictor.newest = NewestTags({HUB: 2})
        self.free(1)
        self.free(0)
        self.assertEqual([False, True, True], list(map(self.has, images)))
        self.evictor.newest = NewestTags()
        other = self.put("4", "c/d")
        self.free(1)
        self.assertEqual([False, True, True], [*map(self.has, images[1:]), self.has(other)])
        self.assertEqual(0, self.kept())

    def test_looked_at_once(self) -> None:
        """What waits there is not looked at by each eviction."""
        self.evictor.candidates = 20
        for number in range(60):
            self.put("1", f"a/{number}")
        self.put("x", "b")
        self.put("y", "b")
        self.assertEqual(self.free(1).images, 1)
        self.assertEqual(60, self.kept())
        asked: list[object] = []
        real = self.account.ask

        def ask(query: Any) -> Deferred[Any]:
            asked.append(query)
            return real(query)

        self.patch(self.account, "ask", ask)
        self.put("z", "b")
        self.assertEqual(self.free(1).images, 1)
        self.assertLess(len(asked), 20)

    def test_pulled(self) -> None:
        """A use counts there too: each pull is one more turn."""
        first, second = self.put("1"), self.put("1", "c/d")
        self.assertEqual(self.free(0), Evicted())
        self.put("1", "e")
        self.put("2", "e")
        self.free(1)
        self.assertEqual(2, self.kept())
        self.pull(first)
        self.free(4)
        self.assertEqual([True, False], [self.has(first), self.has(second)])


class Scarce(EvictionTestCase):
    """Registries with little left of their rate limits."""

    def test_probation(self) -> None:
        """Their images go to the main queue at the first pull, while that is so."""
        self.evictor.scarce = lambda: {HUB}
        dear = self.pulled(b"first")
        others = [self.pulled(b"%d" % number, host=OWN) for number in range(5)]
        self.assertEqual(self.free(8).images, 4)
        self.assertTrue(self.has(dear))
        self.assertEqual(1, sum(self.has(one, OWN) for one in others))
        # There, it is evicted in its turn.
        self.assertEqual(self.free(100).images, 2)

    def test_over(self) -> None:
        """An image that is still on probation when there is enough again is evicted there."""
        self.evictor.scarce = lambda: {HUB}
        image = self.pulled(b"first")
        self.free(0)
        self.evictor.scarce = frozenset
        self.pulled(b"other", host=OWN)
        self.assertEqual(self.free(1).images, 1)
        self.assertFalse(self.has(image))


class Machine(RuleBasedStateMachine):
    """Tags that come, move and go between evictions; the newest ones are known to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.case = BiasTestCase("run")
        self.case.setUp()
        self.count = 1
        self.number = 0

    def teardown(self) -> None:
        self.case.doCleanups()

    @rule(name=st.sampled_from("abcd"), repository=st.sampled_from(["x", "y", "z"]))
    def push(self, name: str, repository: str) -> None:
        """A tag means a new image."""
        self.number += 1
        image = self.case.image(self.case.blob(b"%d" % self.number))
        self.case.tag(name, image, repository=repository)
        self.case.clock.advance(1)

    @rule(data=st.data(), repository=st.sampled_from(["x", "y", "z"]))
    def index(self, data: st.DataObject, repository: str) -> None:
        """A tag means an index of stored images."""
        keys = sorted(key for key in self.case.driver._objects if "/_manifests/" in key)
        if keys:
            chosen = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
            children = [Digest.parse("sha256:" + "".join(key.split("/")[-2:])) for key in chosen]
            self.case.tag("i", self.case.image(*children, index=True), repository=repository)
            self.case.clock.advance(1)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """A tag or a manifest is removed."""
        keys = sorted(key for key in self.case.driver._objects if "/_" in key)
        if keys:
            self.case.successResultOf(self.case.observed.delete(data.draw(st.sampled_from(keys))))

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        """An image is pulled."""
        keys = sorted(key for key in self.case.driver._objects if "/_manifests/" in key)
        if keys:
            self.case.clock.advance(70)
            self.case.observed.touch(data.draw(st.sampled_from(keys)), self.case.clock.seconds())

    @rule(count=st.integers(0, 2))
    def setting(self, count: int) -> None:
        """Another number of tags is kept."""
        self.count = count
        self.case.evictor.newest = NewestTags({HUB: count})
        self.case.free(0)

    @rule(blocks=st.integers(1, 12))
    def free(self, blocks: int) -> None:
        """There is need of room."""
        before, protected = self.stored(), self.newest()
        free = self.case.free(blocks)
        gone = before - self.stored()
        if gone & protected:
            # Nothing else was left that could have been evicted instead.
            assert self.stored() <= self.with_parents(protected)
        assert free.size >= min(blocks * BLOCK, len(before) * BLOCK)

    def stored(self) -> set[int]:
        """Return the content of all stored manifests."""
        return {number for (number,) in self.case.rows("manifests", "content")}  # type: ignore[misc]

    def with_parents(self, content: set[int]) -> set[int]:
        """Return content, and all that names it, which stays as long as it does."""
        edges = self.case.rows("edges", "parent, child")
        while more := {parent for parent, child in edges if child in content} - content:
            content = content | more  # type: ignore[operator]
        return content

    def newest(self) -> set[int]:
        """Return the content of the manifests that are kept."""

        def query(books: Books) -> set[int]:
            rows = books.sql.execute("SELECT host, content FROM manifests").fetchall()
            return {
                content
                for host, content in rows
                if is_among_newest(books, host, content, self.count)
            }

        return self.case.ask(query)

    @invariant()
    def queue(self) -> None:
        """Only what is among the newest, or names something that is, waits in their queue."""
        kept = {n for (n,) in self.case.rows(f"manifests WHERE queue={NEWEST}", "content")}
        assert kept <= self.with_parents(self.newest())
        same = self.case.rows("manifests WHERE (kept_for IS NOT NULL)<>(queue=2)")
        assert same == []


class Model(SynchronousTestCase):
    """Any order of events."""

    def test_anything(self) -> None:
        """Whatever happens, what is newest goes last, and only that and what names it waits."""
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples(0.4), stateful_step_count=25)
        )
