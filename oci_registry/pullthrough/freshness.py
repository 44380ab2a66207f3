"""Whether what is known of a tag may be believed: a pure decision."""

from __future__ import annotations

from enum import Enum

STALE_IF_ERROR = 7 * 86400.0
"""Seconds beyond its time that a tag is served while upstream cannot be asked."""


class Freshness(Enum):
    """What to do with a tag that is known."""

    FRESH = "serve it"
    REVALIDATE = "ask upstream"


class Fallback(Enum):
    """What to do with it when upstream did not say."""

    STALE = "serve it with a warning"
    GONE = "pass the error on"


def judge(age: float, believed: float) -> Freshness:
    """Return what to do with a tag checked *age* seconds ago and *believed* for so many.

    A record from the future (the clock was set back) is not believed.
    """
    return Freshness.FRESH if 0 <= age < believed else Freshness.REVALIDATE


def fall_back(
    age: float, believed: float, *, definite: bool, stale_if_error: float = STALE_IF_ERROR
) -> Fallback:
    """Return what to do when revalidation failed.

    *definite*: upstream did answer, and the answer was no.
    """
    if definite or age >= believed + stale_if_error:
        return Fallback.GONE
    return Fallback.STALE
