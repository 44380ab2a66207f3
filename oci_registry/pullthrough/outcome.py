"""Cache outcomes: hit, revalidated, stale, miss, joined."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """Where the content of a response came from, in the words of the access log.

    The metrics count REVALIDATED and STALE as hits, and JOINED as a miss.
    """

    HIT = "hit"
    """From the store, without asking upstream."""
    REVALIDATED = "revalidated"
    """From the store, after upstream has confirmed the tag."""
    STALE = "stale"
    """From the store, though upstream has not confirmed it in time."""
    MISS = "miss"
    """From upstream."""
    JOINED = "joined"
    """From a request or a download that another client has started."""
