"""Whether a known tag may be served: pure functions.

All times are seconds. *age* is the time since upstream confirmed the tag; it is negative if the clock
was set back. *max_age* is how long a tag is fresh (RFC 9111, section 4.2).
"""

from __future__ import annotations

from enum import Enum


class Freshness(Enum):
    """What to do with a known tag."""

    FRESH = "serve it"
    STALE = "serve it, and revalidate it in the background"
    REVALIDATE = "revalidate it first"


def judge(age: float, max_age: float, stale_while_revalidate: float) -> Freshness:
    """Return what to do with a tag (RFC 5861, section 3). A negative *age* means REVALIDATE."""
    if not 0 <= age < max_age + stale_while_revalidate:
        return Freshness.REVALIDATE
    return Freshness.FRESH if age < max_age else Freshness.STALE


def may_serve_on_error(age: float, max_age: float, stale_if_error: float) -> bool:
    """Return whether a tag may be served, with a warning, if upstream cannot confirm it now.

    As in RFC 5861, section 4; never if *stale_if_error* is 0, not even when the clock was set back.
    """
    return stale_if_error > 0 and age < max_age + stale_if_error
