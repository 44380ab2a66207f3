"""When an eviction may be attempted again."""

from __future__ import annotations

from attrs import define

PACE = 20.0
"""Measuring, and evictions that free nothing, take at most one part in this many of the account's time."""


@define
class Attempts:
    """When the next eviction may be attempted, in seconds since the epoch.

    *again*: seconds until another attempt after one that has freed nothing, or `PACE` times its
    duration, if that is longer. *short*: whether the latest one has freed less than was needed.
    """

    again: float
    not_before: float = 0.0
    short: bool = False

    def may_begin(self, now: float) -> bool:
        """Whether an attempt may begin."""
        return now >= self.not_before

    def ended(self, freed: int, need: int, began: float, now: float) -> bool:
        """Record the bytes that an attempt has *freed*; return whether it is the first that is not enough."""
        before, self.short = self.short, freed < need
        if self.short:
            # It has checked every image, but those in use may soon be free.
            seconds = now - began
            self.not_before = now + (seconds if freed else max(self.again, PACE * seconds))
        return self.short and not before
