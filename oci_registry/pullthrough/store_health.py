"""Whether the store works, for the log and the metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.room import is_full

T = TypeVar("T")

READ = "read"
WRITTEN = "written"


def _nothing() -> None:
    """Do nothing."""


class StoreHealth:
    """Counts every failure of the store, and logs only the first one and the recovery.

    Reads and writes are counted separately: a full disk can still be read. *recovery*: seconds without
    a failure after which a success means that the store has recovered. A disk that is nearly full takes
    small objects and refuses large ones, several times within one pull.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, metrics: Metrics, recovery: float = 10.0) -> None:
        self.full: Callable[[], None] = _nothing
        """What is called when a write fails because the disk is full."""
        self._clock = clock
        self._metrics = metrics
        self._recovery = recovery
        self._failures = {READ: 0, WRITTEN: 0}
        self._failed_at = {READ: 0.0, WRITTEN: 0.0}
        for access in self._failures:
            metrics.store_failing.labels(access).set(0)

    def record_failure(self, access: str, error: Exception) -> None:
        """Count a failure of *access*, which is `READ` or `WRITTEN`."""
        self._metrics.error("store")
        self._note(access, error)
        if access == WRITTEN and is_full(error):
            self.full()

    def record_check(self, access: str, error: Exception | None) -> None:
        """Note the result of a check, which is not counted as an error. *error*: None if it succeeded."""
        if error is None:
            self.record_success(access)
        else:
            self._note(access, error)

    def _note(self, access: str, error: Exception) -> None:
        self._failures[access] += 1
        self._failed_at[access] = self._clock.seconds()
        if self._failures[access] == 1:
            self._metrics.store_failing.labels(access).set(1)
            self._log.error(
                "the store cannot be {access}, pulls go on uncached: {error}",
                access=access,
                error=str(error),
            )

    def record_success(self, access: str) -> None:
        """Note a success of *access*; the store has recovered if the last failure is long ago."""
        failures = self._failures[access]
        if failures and self._clock.seconds() - self._failed_at[access] >= self._recovery:
            self._failures[access] = 0
            self._metrics.store_failing.labels(access).set(0)
            self._log.info(
                "the store can be {access} again, after {failures} failures",
                access=access,
                failures=failures,
            )

    def works(self, access: str) -> bool:
        """Whether the store works, as far as is known."""
        return not self._failures[access]

    async def or_default(self, access: str, work: Awaitable[T], default: T) -> T:
        """Return the result of *work*, or *default* if it fails with StoreError."""
        try:
            result = await work
        except StoreError as error:
            self.record_failure(access, error)
            return default
        self.record_success(access)
        return result
