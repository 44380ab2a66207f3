"""Whether what is known of a tag may be believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.freshness import (
    STALE_IF_ERROR,
    Fallback,
    Freshness,
    fall_back,
    judge,
)

DAY = 86400.0
SECONDS = st.floats(-1e10, 1e10)
TIMES = st.floats(0, 1e10)


class Judged(SynchronousTestCase):
    """What to do with a tag that is known."""

    def test_table(self) -> None:
        """A tag is fresh within its time, not at its end, and never with a time of nothing."""
        for age, believed, expected in (
            (0.0, 60.0, Freshness.FRESH),
            (59.9, 60.0, Freshness.FRESH),
            (60.0, 60.0, Freshness.REVALIDATE),
            (61.0, 60.0, Freshness.REVALIDATE),
            (0.0, 0.0, Freshness.REVALIDATE),
            (5.0, 0.0, Freshness.REVALIDATE),
            (-1.0, 60.0, Freshness.REVALIDATE),
            (-1.0, 0.0, Freshness.REVALIDATE),
        ):
            self.assertIs(expected, judge(age, believed), (age, believed))

    @given(SECONDS, TIMES)
    def test_believed_only_within_its_time(self, age: float, believed: float) -> None:
        """Fresh is what was confirmed in the past, and not longer ago than it is believed."""
        fresh = judge(age, believed) is Freshness.FRESH
        self.assertEqual(fresh, age >= 0 and age < believed)

    @given(TIMES, TIMES, TIMES)
    def test_only_grows_older(self, age: float, more: float, believed: float) -> None:
        """What needs to be asked does not become fresh by waiting."""
        if judge(age, believed) is Freshness.REVALIDATE:
            self.assertIs(Freshness.REVALIDATE, judge(age + more, believed))


class Fallbacks(SynchronousTestCase):
    """What to do when upstream did not say."""

    def test_table(self) -> None:
        """An old tag is served for some days, an answer that says no is believed at once."""
        limit = DAY + STALE_IF_ERROR
        for age, definite, expected in (
            (DAY, False, Fallback.STALE),
            (limit - 1, False, Fallback.STALE),
            (limit, False, Fallback.GONE),
            (limit + 1, False, Fallback.GONE),
            (0.0, True, Fallback.GONE),
            (DAY, True, Fallback.GONE),
            (-5.0, False, Fallback.STALE),
        ):
            self.assertIs(expected, fall_back(age, DAY, definite=definite), (age, definite))

    @given(SECONDS, TIMES, TIMES)
    def test_definite(self, age: float, believed: float, limit: float) -> None:
        """Whoever was told no gets no stale answer, whatever the times are."""
        gone = fall_back(age, believed, definite=True, stale_if_error=limit)
        self.assertIs(Fallback.GONE, gone)

    @given(SECONDS, TIMES)
    def test_no_patience(self, age: float, believed: float) -> None:
        """Without any time beyond its own, a tag is stale only while it would be fresh."""
        stale = fall_back(age, believed, definite=False, stale_if_error=0.0) is Fallback.STALE
        self.assertEqual(stale, age < believed)
