"""When objects were last used, without a write for each use."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import IDriver
from oci_registry.streams.recent import RecentValues

GRANULARITY = 60.0
"""Seconds of use that share one touch of the stored object."""


class Usage:
    """The last use of each object, exact in memory and to the minute on the medium.

    A use is written at most once per `GRANULARITY` and object, in the background; a restart loses at
    most the last minute. *remembered*: how many objects are in memory.
    """

    def __init__(self, driver: IDriver, clock: IReactorTime, remembered: int = 100_000) -> None:
        self.began: float = clock.seconds()
        """When this process started, in seconds since the epoch."""
        self._driver = driver
        self._clock = clock
        # When each was used, and the last use that was written. A look-up does not count as a use.
        self._used: RecentValues[float] = RecentValues(remembered)
        self._written: RecentValues[float] = RecentValues(remembered)

    def used(self, key: str) -> None:
        """Record that the object at *key* is being used now."""
        now = self._clock.seconds()
        if now - (self._written.peek(key) or 0.0) >= GRANULARITY:
            self._written.put(key, now)
            # A failing store is noticed elsewhere, where its results matter.
            self._driver.touch(key, now).addErrback(_ignore)
        self._used.put(key, now)

    def last(self, key: str, stored: float) -> float:
        """Return when the object was last used, given the medium's time; in seconds since the epoch."""
        return max(stored, self._used.peek(key) or 0.0)

    def inherit(self, key: str, when: float) -> None:
        """Count an object as used at *when*, when something that refers to it was."""
        if when > (self._used.peek(key) or 0.0):
            self._used.put(key, when)
            self._written.put(key, when)
            self._driver.touch(key, when).addErrback(_ignore)

    def forget(self, key: str) -> None:
        """Forget an object that is removed."""
        self._used.remove(key)
        self._written.remove(key)


def _ignore(failure: Failure) -> None:
    del failure
