"""When an eviction may be attempted again."""

from __future__ import annotations

from attrs import define

PACE = 20.0
"""Measuring, and evictions that free nothing, take one part in so many of the time of the account, at most."""


@define
class Attempts:
    """When the next eviction may be attempted, in seconds since the epoch.

    *again*: seconds until another attempt after one that has freed nothing, or `PACE` times as long as that has
    taken. *short*: whether the latest one has freed less than was needed.
    """

    again: float
    not_before: float = 0.0
    short: bool = False

    def may_begin(self, now: float) -> bool:
        """Whether an attempt may begin."""
        return now >= self.not_before

    def ended(self, freed: int, need: int, began: float, now: float) -> bool:
        """Note how many bytes an attempt has *freed*; return whether it is the first that falls short."""
        before, self.short = self.short, freed < need
        if self.short:
            # It has looked at every image, but what is in use may not be so for long.
            seconds = now - began
            self.not_before = now + (seconds if freed else max(self.again, PACE * seconds))
        return self.short and not before
