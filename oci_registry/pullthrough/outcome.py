"""What the cache was good for."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How something was found for a client. What a client joins counts as a miss elsewhere."""

    HIT = "hit"
    """In the store."""
    STALE = "stale"
    """In the store, though upstream has not confirmed it in time."""
    MISS = "miss"
    """At upstream."""
    JOINED = "joined"
    """In a download that somebody else has begun."""
