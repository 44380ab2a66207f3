"""Cache outcomes: hit, stale, miss, joined."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """Where the content of a response came from. The metrics of hits and misses count JOINED as a miss."""

    HIT = "hit"
    """From the store."""
    STALE = "stale"
    """From the store, though upstream has not confirmed it in time."""
    MISS = "miss"
    """From upstream."""
    JOINED = "joined"
    """From a download that another client has started."""
