"""Whether what is known of a tag may be served: a pure decision.

All times are seconds. *age* is how long ago upstream confirmed what is known; it is negative when the
clock was set back since. *max_age* is how long a tag is fresh (RFC 9111, section 4.2).
"""

from __future__ import annotations

from enum import Enum


class Freshness(Enum):
    """What to do with a tag that is known."""

    FRESH = "serve it"
    STALE = "serve it, and ask upstream in the background"
    REVALIDATE = "ask upstream first"


def judge(age: float, max_age: float, stale_while_revalidate: float) -> Freshness:
    """Return what to do with a tag (RFC 5861, section 3). One from the future is revalidated."""
    if not 0 <= age < max_age + stale_while_revalidate:
        return Freshness.REVALIDATE
    return Freshness.FRESH if age < max_age else Freshness.STALE


def may_serve_on_error(age: float, max_age: float, stale_if_error: float) -> bool:
    """Return whether a tag may be served, with a warning, should upstream not confirm it now.

    As in RFC 5861, section 4; with a *stale_if_error* of 0 it may never be, not even when the clock was
    set back.
    """
    return stale_if_error > 0 and age < max_age + stale_if_error
