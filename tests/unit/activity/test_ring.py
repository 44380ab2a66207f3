"""Numbers in equal parts of time."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.activity.ring import MOST, Ring

COUNT, STEP = 5, 10
PASSED = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 9), st.integers(0, 9)), max_size=40)
JUMPING = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), max_size=40)


class Rings(SynchronousTestCase):
    """A ring of five parts of ten seconds."""

    def setUp(self) -> None:
        self.ring = Ring(COUNT, STEP, 2)

    @given(PASSED)
    def test_model(self, steps: list[tuple[int, int, int]]) -> None:
        """While time passes it has what a plain list of everything says of the same parts."""
        ring, now = Ring(COUNT, STEP, 2), 1000
        model: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for passed, first, second in steps:
            now += passed
            ring.add(now, (first, second))
            model[now // STEP][0] += first
            model[now // STEP][1] += second
        last = now // STEP
        expected = [(p * STEP, tuple(model[p])) for p in range(last - COUNT + 1, last + 1)]
        self.assertEqual(expected, ring.series(now))

    @given(JUMPING)
    def test_jumps(self, steps: list[tuple[int, int]]) -> None:
        """However the clock jumps, no number is negative, and no more is there than was added."""
        ring, added, now = Ring(COUNT, STEP, 1), 0, 0
        for now, number in steps:
            ring.add(now, (number,))
            added += number
        found = [numbers[0] for _, numbers in ring.series(now)]
        self.assertTrue(all(number >= 0 for number in found))
        self.assertLessEqual(sum(found), added)

    @given(JUMPING, JUMPING)
    def test_restored(self, before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
        """What was kept is added to what has happened meanwhile, unless a later part has its place."""
        kept, ring, whole = (Ring(COUNT, STEP, 1) for _ in range(3))
        for when, number in sorted(before):
            kept.add(when, (number,))
            whole.add(when, (number,))
        start = max([when for when, _ in before], default=0)
        for when, number in sorted(after):
            ring.add(start + when, (number,))
            whole.add(start + when, (number,))
        ring.restore(list(kept.rows()))
        for now in (start, start + 300):
            self.assertEqual(whole.series(now), ring.series(now))

    def test_empty(self) -> None:
        """Parts in which nothing has happened are there, with zeros."""
        self.ring.add(1005, (1, 2))
        self.ring.add(1035, (3, 4))
        numbers = [(0, 0), (1, 2), (0, 0), (0, 0), (3, 4)]
        self.assertEqual(
            list(zip((990, 1000, 1010, 1020, 1030), numbers, strict=True)), self.ring.series(1039.9)
        )

    def test_future(self) -> None:
        """What a clock that was wrong has put into the future is not shown before its time."""
        self.ring.add(5000, (1, 1))
        self.ring.add(1000, (2, 2))
        self.assertEqual([2], [sum(n[:1]) for _, n in self.ring.series(1000) if any(n)])

    def test_before_the_epoch(self) -> None:
        """A time before the epoch is no time."""
        self.ring.add(-50, (1, 1))
        self.assertEqual([], list(self.ring.rows()))
        self.assertEqual([(0, 0)] * COUNT, [numbers for _, numbers in self.ring.series(-30)])

    def test_large(self) -> None:
        """A number that would be too large for JSON stays at the largest one."""
        for _ in range(3):
            self.ring.add(0, (MOST - 1, 0))
        self.assertEqual([(0, MOST, 0)], list(self.ring.rows()))
