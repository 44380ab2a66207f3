"""Whether what is known of a tag may be served."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.freshness import Freshness, judge, may_serve_on_error

DAY = 86400.0
SECONDS = st.floats(-1e10, 1e10)
TIMES = st.floats(0, 1e10)


class Judged(SynchronousTestCase):
    """What to do with a tag that is known."""

    def test_table(self) -> None:
        """A tag is fresh within its time, not at its end, and never with a time of nothing."""
        for age, max_age, expected in (
            (0.0, 60.0, Freshness.FRESH),
            (59.9, 60.0, Freshness.FRESH),
            (60.0, 60.0, Freshness.REVALIDATE),
            (61.0, 60.0, Freshness.REVALIDATE),
            (0.0, 0.0, Freshness.REVALIDATE),
            (5.0, 0.0, Freshness.REVALIDATE),
            (-1.0, 60.0, Freshness.REVALIDATE),
            (-1.0, 0.0, Freshness.REVALIDATE),
        ):
            self.assertIs(expected, judge(age, max_age, 0.0), (age, max_age))

    def test_beyond_its_time(self) -> None:
        """For a while after that a tag may be served while it is asked, but not from the future."""
        for age, max_age, expected in (
            (59.9, 60.0, Freshness.FRESH),
            (60.0, 60.0, Freshness.STALE),
            (69.9, 60.0, Freshness.STALE),
            (70.0, 60.0, Freshness.REVALIDATE),
            (0.0, 0.0, Freshness.STALE),
            (-1.0, 60.0, Freshness.REVALIDATE),
        ):
            self.assertIs(expected, judge(age, max_age, 10.0), (age, max_age))

    @given(SECONDS, TIMES, TIMES)
    def test_fresh_only_within_its_time(self, age: float, max_age: float, more: float) -> None:
        """Fresh is what was confirmed in the past, and not longer ago than its max age."""
        fresh = judge(age, max_age, more) is Freshness.FRESH
        self.assertEqual(fresh, age >= 0 and age < max_age)

    @given(TIMES, TIMES, TIMES, TIMES)
    def test_only_grows_older(
        self, age: float, more: float, max_age: float, while_revalidate: float
    ) -> None:
        """Nothing becomes fresher by waiting."""
        order = list(Freshness)
        now, later = (judge(a, max_age, while_revalidate) for a in (age, age + more))
        self.assertLessEqual(order.index(now), order.index(later))


class OnError(SynchronousTestCase):
    """What may be served if upstream does not confirm it."""

    def test_table(self) -> None:
        """An old tag may be served for some time, with a time of nothing never."""
        for age, if_error, expected in (
            (DAY, 60.0, True),
            (DAY + 59, 60.0, True),
            (DAY + 60, 60.0, False),
            (DAY + 61, 60.0, False),
            (-5.0, 60.0, True),
            (-5.0, 0.0, False),
            (5.0, 0.0, False),
            (DAY, 0.0, False),
        ):
            self.assertIs(expected, may_serve_on_error(age, DAY, if_error), (age, if_error))

    @given(SECONDS, TIMES)
    def test_off(self, age: float, max_age: float) -> None:
        """With a time of nothing it is off, whatever the clock says."""
        self.assertFalse(may_serve_on_error(age, max_age, 0.0))
