"""Tags that are held at a digest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import permutations
from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.storage.holds import Hold, HoldStore, Names, TooManyHolds
from oci_registry.storage.interfaces import ObjectInfo, StoreError
from oci_registry.storage.keys import HOLDS, hold_key
from tests.unit.storage.support import HOST, StoreTestCase

ONE, TWO = Digest.of(b"1"), Digest.of(b"2", "sha512")
NAMES = (HOST, "a/b", "v1")


class Holds(StoreTestCase):
    """A store of holds."""

    def setUp(self) -> None:
        super().setUp()
        self.changed: list[Names] = []
        self.store = self.another()

    def another(self) -> HoldStore:
        """Return one of another process."""
        store = HoldStore(self.driver, most=3)
        store.changed = self.changed.append
        return store

    def put(self, digest: Digest, names: Names = NAMES, store: HoldStore | None = None) -> Hold:
        return self.result((store or self.store).put(*names, digest, self.clock.seconds()))

    def loaded(self, store: HoldStore) -> Hold | None:
        """Return what a store finds when it has read all again."""
        self.result(store.load())
        return store.find(*NAMES)

    def test_there_and_back(self) -> None:
        """A hold counts at once and after a restart, is replaced, and is lifted; each change is told."""
        for digest in (ONE, TWO):
            hold = self.put(digest)
            self.assertEqual((digest, hold), (hold.digest, self.store.find(*NAMES)))
            self.assertEqual(hold, self.loaded(self.another()))
            self.assertEqual([(HOST, digest)], list(self.store.manifests()))
            found = [(HOST, each) in self.store.manifests() for each in (ONE, TWO)]
            self.assertEqual([digest == ONE, digest == TWO], found)
        self.assertEqual(1, len(self.store))
        self.changed.clear()
        self.assertTrue(self.result(self.store.remove(*NAMES)))
        self.assertEqual([NAMES], self.changed)
        self.assertIsNone(self.store.find(*NAMES))
        self.assertIsNone(self.loaded(self.another()))
        self.assertFalse(self.result(self.store.remove(*NAMES)))

    def test_other_processes(self) -> None:
        """What another process sets and lifts is known after the next reading, and told once."""
        other = self.another()
        self.result(other.load())
        self.put(ONE)
        self.changed.clear()
        for _ in range(2):
            found = self.loaded(other)
            assert found is not None
            self.assertEqual(ONE, found.digest)
        self.assertEqual([NAMES], self.changed)
        self.put(TWO)
        self.loaded(other)
        self.result(self.store.remove(*NAMES))
        self.changed.clear()
        self.assertIsNone(self.loaded(other))
        self.assertEqual([NAMES], self.changed)

    def test_both(self) -> None:
        """If two processes hold a tag at different digests, the later hold counts."""
        self.driver.place(hold_key(*NAMES, ONE), b"", sealed=True)
        self.clock.advance(1)
        self.driver.place(hold_key(*NAMES, TWO), b"", sealed=True)
        found = self.loaded(self.store)
        assert found is not None
        self.assertEqual(TWO, found.digest)
        self.put(ONE)
        found = self.loaded(self.another())
        assert found is not None
        self.assertEqual(ONE, found.digest)

    def at_once(self, apart: float, order: Sequence[int]) -> set[Hold | None]:
        """Hold a tag in two processes, *apart* seconds; return what each process finds then.

        *order*: which process takes the next step; each lists, writes and lists again.
        """
        listed = self.driver.list
        gates: list[Deferred[None]] = []

        async def slow(prefix: str) -> AsyncIterator[ObjectInfo]:
            infos = [info async for info in listed(prefix)]
            gates.append(Deferred())
            await gates[-1]
            for info in infos:
                yield info

        stores, waiting = [self.another(), self.another()], list[Deferred[None] | None]([None] * 2)
        works: list[Deferred[Hold]] = []
        with patch.object(self.driver, "list", slow):
            for digest, store in zip((ONE, TWO), stores, strict=True):
                work = store.put(*NAMES, digest, self.clock.seconds())
                works.append(Deferred.fromCoroutine(work))
                waiting[len(works) - 1] = gates[-1]
            for number in order:
                gate, count = waiting[number], len(gates)
                assert gate is not None
                self.clock.advance(apart)
                gate.callback(None)
                waiting[number] = gates[-1] if len(gates) > count else None
        for each in works:
            self.successResultOf(each)
        found = {self.loaded(store) for store in (*stores, self.another())}
        self.result(self.store.remove(*NAMES))
        return found

    def test_both_at_once(self) -> None:
        """Of two that hold a tag at the same time one hold stays, and it is the same for all."""
        for apart in (0.0, 1.0):
            for order in sorted(set(permutations((0, 0, 1, 1)))):
                found = {hold and hold.digest for hold in self.at_once(apart, order)}
                self.assertEqual(1, len(found), (apart, order))
                self.assertNotIn(None, found, (apart, order))

    def test_one_after_the_other(self) -> None:
        """A hold that is set after another one counts, even within the same second."""
        for first, second in permutations((ONE, TWO)):
            self.put(first, store=self.another())
            self.put(second, store=self.another())
            found = self.loaded(self.store)
            assert found is not None
            self.assertEqual(second, found.digest)

    def test_set_while_reading(self) -> None:
        """A hold that is set while all are read is not lost."""
        gate: Deferred[None] = Deferred()
        listed = self.driver.list

        async def slow(prefix: str) -> object:
            infos = [info async for info in listed(prefix)]
            await gate
            for info in infos:
                yield info

        with patch.object(self.driver, "list", slow):
            loading = Deferred.fromCoroutine(self.store.load())
        self.put(ONE)
        gate.callback(None)
        self.successResultOf(loading)
        self.assertIsNotNone(self.store.find(*NAMES))

    def test_bounded(self) -> None:
        """There may be so many holds and no more; one of them may be replaced."""
        for number in range(3):
            self.put(ONE, (HOST, "a", f"v{number}"))
        self.fails(self.store.put(*NAMES, ONE, 0.0), TooManyHolds)
        self.put(TWO, (HOST, "a", "v1"))
        self.assertEqual(3, len(self.store))

    def test_others_files(self) -> None:
        """Other files are ignored, and stay."""
        self.driver.place(f"{HOLDS}/x", b"", sealed=False)
        self.driver.place(hold_key(*NAMES, ONE).rsplit("/", 1)[0] + "/x", b"", sealed=False)
        self.assertIsNone(self.loaded(self.store))
        self.put(ONE)
        self.result(self.store.remove(*NAMES))
        self.assertIsNotNone(self.driver.look(f"{HOLDS}/x"))

    def test_medium_fails(self) -> None:
        """A hold that cannot be written is an error, and does not count."""
        self.driver.broken = "disk on fire"
        self.fails(self.store.put(*NAMES, ONE, 0.0), StoreError)
        self.assertIsNone(self.store.find(*NAMES))
        self.fails(self.store.load(), StoreError)
        self.assertFalse(self.store.loaded)
