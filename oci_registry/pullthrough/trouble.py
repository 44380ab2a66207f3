"""What is said when the store fails: that it does, and that it does no more, but not at every pull."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.storage.interfaces import StoreError

T = TypeVar("T")

READ = "read"
WRITTEN = "written"

QUIET = 10.0
"""Seconds without a failure before the store is believed to be well again.

A disk that is nearly full takes the small and refuses the large, several times within one pull.
"""


class StoreTrouble:
    """Counts every failure of the store, and logs the first and the last of a row.

    Reading and writing are told apart: a full disk can be read, and serves what it has.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._failures = {READ: 0, WRITTEN: 0}
        self._failed_at = {READ: 0.0, WRITTEN: 0.0}
        for doing in self._failures:
            metrics.store_failing.labels(doing).set(0)

    def failed(self, doing: str, error: Exception) -> None:
        """The store could not be *doing*: `READ` or `WRITTEN`."""
        self._metrics.error("store")
        self._failures[doing] += 1
        self._failed_at[doing] = self._clock.seconds()
        if self._failures[doing] == 1:
            self._metrics.store_failing.labels(doing).set(1)
            self._log.error(
                "the store cannot be {doing}, pulls go on uncached: {error}",
                doing=doing,
                error=str(error),
            )

    def worked(self, doing: str) -> None:
        """The store has been *doing* well."""
        failures = self._failures[doing]
        if failures and self._clock.seconds() - self._failed_at[doing] >= QUIET:
            self._failures[doing] = 0
            self._metrics.store_failing.labels(doing).set(0)
            self._log.info(
                "the store can be {doing} again, after {failures} failures",
                doing=doing,
                failures=failures,
            )

    async def despite(self, doing: str, work: Awaitable[T], otherwise: T) -> T:
        """Wait for the store; if it fails, go on without it."""
        try:
            result = await work
        except StoreError as error:
            self.failed(doing, error)
            return otherwise
        self.worked(doing)
        return result
