"""Whether what is known of a tag may be served: a pure decision.

All times are seconds. *age* is how long ago upstream confirmed what is known; it is negative when the
clock was set back since.
"""

from __future__ import annotations

from enum import Enum


class Freshness(Enum):
    """What to do with a tag that is known."""

    FRESH = "serve it"
    USABLE = "serve it, and ask upstream in the background"
    REVALIDATE = "ask upstream first"


def judge(age: float, believed: float, while_revalidate: float) -> Freshness:
    """Return what to do with a tag that is *believed* for so long, and usable *while_revalidate* beyond.

    A record from the future is not believed.
    """
    if not 0 <= age < believed + while_revalidate:
        return Freshness.REVALIDATE
    return Freshness.FRESH if age < believed else Freshness.USABLE


def usable_on_error(age: float, believed: float, if_error: float) -> bool:
    """Return whether a tag may be served, with a warning, should upstream not confirm it now.

    *if_error* is how long that may be after the tag's own time; with 0 it may never be, not even when
    the clock was set back.
    """
    return if_error > 0 and age < believed + if_error
