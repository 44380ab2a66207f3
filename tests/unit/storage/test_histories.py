"""Histories of tags."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.spec.digest import Digest
from oci_registry.storage.histories import LIFETIME, MOST, HistoryStore, Sighting, TagHistory
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import HISTORIES, history_key, tag_key
from tests.unit.storage.support import HOST, StoreTestCase

DIGESTS = [Digest.of(str(number).encode()) for number in range(60)]
NAMES = (HOST, "a/b", "v1")


def times() -> st.SearchStrategy[list[float]]:
    """Return three times in order."""
    return st.lists(st.integers(0, 100).map(float), min_size=3, max_size=3).map(sorted)


SIGHTINGS = st.builds(
    lambda digest, when, adopted: Sighting(digest, *when, adopted=adopted),
    st.sampled_from(DIGESTS[:6]),
    times(),
    st.booleans(),
)


class Merging(StoreTestCase):
    """Histories that several processes have written."""

    @given(st.lists(SIGHTINGS, max_size=20), st.randoms())
    def test_any_order(self, seen: list[Sighting], random: object) -> None:
        """Nothing is lost, whatever the order: the digests, the first and the last time, what was served."""
        history = TagHistory().merged(seen)
        random.shuffle(seen)  # type: ignore[attr-defined]
        other = TagHistory().merged(seen)
        self.assertEqual({one.digest for one in seen}, {one.digest for one in history.sightings})
        for one in history.sightings:
            same = [each for each in seen if each.digest == one.digest]
            self.assertEqual(min(each.first for each in same), one.first)
            self.assertEqual(max(each.last for each in same), one.last)
            self.assertEqual(any(each.adopted for each in same), one.adopted)
            self.assertIn(one.since, [each.since for each in same])
            self.assertEqual(one, other.find(one.digest))
        lasts = [one.last for one in history.sightings]
        self.assertEqual(sorted(lasts, reverse=True), lasts)
        self.assertEqual(history, history.merged(history.sightings))
        self.assertEqual(history, TagHistory.from_json(history.to_json()))

    def test_without_interruption(self) -> None:
        """The wait of a digest begins when any process saw it, unless another one was seen since then."""
        early, late = Sighting(DIGESTS[0], 1, 1, 5, False), Sighting(DIGESTS[0], 3, 3, 9, False)
        for last, since in ((0.5, 1), (2, 3)):
            other = Sighting(DIGESTS[1], 0, 0, last, True)
            for seen in ([early, late, other], [late, other, early]):
                found = TagHistory().merged(seen).find(DIGESTS[0])
                assert found is not None
                self.assertEqual((1, since, 9), (found.first, found.since, found.last))

    def test_bounded(self) -> None:
        """There are never more than so many, and what was served last stays among them."""
        served = Sighting.at(DIGESTS[0], 0.0, adopted=True)
        later = [Sighting.at(one, at + 1.0, adopted=False) for at, one in enumerate(DIGESTS[1:])]
        history = TagHistory().merged([served, *later])
        self.assertEqual(MOST, len(history.sightings))
        self.assertEqual(served, history.last_adopted)
        self.assertLess(len(history.to_json()), 16 * 1024)

    @given(st.binary(max_size=40) | st.just(b'{"sightings": [{}]}') | st.just(b'{"sightings": 5}'))
    def test_damaged(self, data: bytes) -> None:
        """Anything else is no history, which is a ValueError and nothing worse."""
        self.assertRaises(ValueError, TagHistory.from_json, data)

    def test_not_finite(self) -> None:
        """A history with a time that is not finite is a ValueError."""
        value = json.loads(TagHistory((Sighting.at(DIGESTS[0], 1.0, adopted=True),)).to_json())
        for wrong in (float("inf"), "soon", None):
            value["sightings"][0]["last"] = wrong
            self.assertRaises(ValueError, TagHistory.from_json, json.dumps(value).encode())


class Histories(StoreTestCase):
    """A store of histories."""

    def setUp(self) -> None:
        super().setUp()
        self.store = HistoryStore(self.driver)
        self.one, self.two = (Sighting.at(each, 5.0, adopted=True) for each in DIGESTS[:2])

    def get(self, store: HistoryStore | None = None) -> TagHistory | None:
        return self.result((store or self.store).get(*NAMES))

    def test_there_and_back(self) -> None:
        """What is remembered counts at once, and is written on request."""
        self.assertIsNone(self.get())
        self.result(self.store.write(*NAMES))
        self.store.remember(*NAMES, [self.one])
        self.assertEqual(TagHistory((self.one,)), self.get())
        self.assertIsNone(self.get(HistoryStore(self.driver)))
        self.result(self.store.write(*NAMES))
        self.assertEqual(TagHistory((self.one,)), self.get(HistoryStore(self.driver)))

    def test_two_processes(self) -> None:
        """Two that write the same history keep each other's entries."""
        other = HistoryStore(self.driver)
        self.store.remember(*NAMES, [self.one])
        other.remember(*NAMES, [self.two])
        self.result(self.store.write(*NAMES))
        self.result(other.write(*NAMES))
        for store in (self.store, other, HistoryStore(self.driver)):
            found = self.get(store)
            assert found is not None
            self.assertEqual({self.one, self.two}, set(found.sightings))

    def test_overwritten(self) -> None:
        """An entry that was lost when both wrote at once is written again with the next change."""
        self.store.remember(*NAMES, [self.one])
        self.result(self.store.write(*NAMES))
        self.driver.place(history_key(*NAMES), TagHistory((self.two,)).to_json(), sealed=True)
        self.store.remember(*NAMES, [])
        self.result(self.store.write(*NAMES))
        found = self.get(HistoryStore(self.driver))
        assert found is not None
        self.assertEqual({self.one, self.two}, set(found.sightings))

    def test_damaged_file(self) -> None:
        """A damaged or huge file counts as no history; a broken medium is an error."""
        for data in (b"{", b" " * 100_000):
            self.driver.place(history_key(*NAMES), data, sealed=True)
            self.assertIsNone(self.get())
        self.driver.broken = "I/O error"
        self.fails(self.store.get(*NAMES), StoreError)

    def test_expire(self) -> None:
        """Old histories of tags without a record go, except those that are needed otherwise."""
        others = [(HOST, "a", f"v{number}") for number in range(3)]
        for names in (NAMES, *others):
            self.store.remember(*names, [self.one])
            self.result(self.store.write(*names))
        self.driver.place(tag_key(*others[0]), b"{}", sealed=True)
        self.driver.place(f"{HISTORIES}/x", b"", sealed=False)
        now = self.clock.seconds()

        def expire(when: float) -> int:
            return self.result(self.store.expire(when, lambda names: names == others[1]))

        self.assertEqual(0, expire(now + LIFETIME))
        self.assertEqual(2, expire(now + LIFETIME + 1))
        self.assertIsNone(self.get())
        self.assertEqual(0, expire(now + LIFETIME + 1))
