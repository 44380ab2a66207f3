"""When objects were last used, without a write for each use."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import IDriver

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
        self._remembered = remembered
        # An object that is used again moves to the end; a look-up does not count as a use.
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def used(self, key: str) -> None:
        """Record that the object at *key* is being used now."""
        now = self._clock.seconds()
        written = self._used.get(key, (0.0, 0.0))[1]
        if now - written >= GRANULARITY:
            written = now
            # A failing store is noticed elsewhere, where its results matter.
            self._driver.touch(key, now).addErrback(_ignore)
        self._note(key, now, written)

    def last(self, key: str, stored: float) -> float:
        """Return when the object was last used, given the medium's time; in seconds since the epoch."""
        return max(stored, self._used.get(key, (0.0, 0.0))[0])

    def inherit(self, key: str, when: float) -> None:
        """Count an object as used at *when*, when something that refers to it was."""
        if when > self._used.get(key, (0.0, 0.0))[0]:
            self._note(key, when, when)
            self._driver.touch(key, when).addErrback(_ignore)

    def _note(self, key: str, used: float, written: float) -> None:
        self._used[key] = (used, written)
        self._used.move_to_end(key)
        if len(self._used) > self._remembered:
            self._used.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget an object that is removed."""
        self._used.pop(key, None)


def _ignore(failure: Failure) -> None:
    del failure
