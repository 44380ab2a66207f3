"""The delays before an ended process is started again: none at first, and then growing."""

from __future__ import annotations

STEADY = 10.0
"""Seconds after which a process counts as started successfully."""
FIRST = 1.0
"""Seconds until the second start in a row; each further one waits `FACTOR` times as long."""
FACTOR = 1.5
LONGEST = 60.0
"""The maximum delay in seconds."""


class Restarts:
    """The starts of one process. After the first end in a row there is no delay."""

    def __init__(self) -> None:
        self._failures = 0

    def ended(self, lived: float) -> float:
        """Note that the process has ended after *lived* seconds; return the seconds to wait."""
        self._failures = 1 if lived >= STEADY else self._failures + 1
        if self._failures == 1:
            return 0.0
        # Bounded before it is raised to a power, which would overflow after days of crashes.
        further = min(self._failures - 2, 20)
        return float(min(LONGEST, FIRST * FACTOR**further))
