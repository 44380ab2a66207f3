"""Checks of the store, for readiness and for the metrics."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_health import READ, WRITTEN, StoreHealth
from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.streams.flight import SingleFlight


@frozen
class StoreState:
    """Why the store cannot be read, and why it cannot be written; None if it can."""

    unreadable: str | None = None
    unwritable: str | None = None


@frozen
class StoreWatchLimits:
    """Times in seconds.

    *timeout*: for a check; *space_age*: for how long the space of the volume is not asked for again.
    """

    timeout: float = 5.0
    space_age: float = 5.0


class StoreWatch:
    """Checks the store when it is asked to; sets the gauges, and logs each change once."""

    _log = Logger()

    def __init__(
        self,
        driver: IDriver,
        health: StoreHealth,
        metrics: Metrics,
        clock: IReactorTime,
        limits: StoreWatchLimits = StoreWatchLimits(),
    ) -> None:
        self._driver = driver
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._checking: SingleFlight[str, StoreState] = SingleFlight()
        self._space_until = 0.0

    async def check(self) -> StoreState:
        """Return whether the store works; one check serves all concurrent callers. Never fails."""
        return await self._checking.run("store", self._check)

    async def _check(self) -> StoreState:
        reading = Deferred.fromCoroutine(self._try(READ, self._driver.check_reading))
        writing = Deferred.fromCoroutine(self._try(WRITTEN, self._driver.check_writing))
        measuring = Deferred.fromCoroutine(self._measure())
        state = StoreState(await reading, await writing)
        await measuring
        self._metrics.store_readable.set(state.unreadable is None)
        self._metrics.store_writable.set(state.unwritable is None)
        return state

    async def _try(self, access: str, check: Callable[[], Deferred[None]]) -> str | None:
        """Check one direction; return the problem, or None."""
        error: StoreError | None = None
        try:
            await check().addTimeout(self._limits.timeout, self._clock)
        except DeferredTimeout:
            error = StoreError(f"the store did not answer within {self._limits.timeout:g} s")
        except StoreError as failure:
            error = failure
        except Exception:
            self._log.failure("the check of the store failed")
            error = StoreError("the store could not be checked; see the log")
        self._health.record_check(access, error)
        return None if error is None else str(error)

    async def _measure(self) -> None:
        """Export the space of the volume, if there is one."""
        if self._space_until > self._clock.seconds():
            return
        try:
            space = await self._driver.space().addTimeout(self._limits.timeout, self._clock)
        except (StoreError, DeferredTimeout):
            # The check says what is wrong. The last measurement may be outdated.
            self._metrics.store_free_bytes.set(nan)
            self._metrics.store_size_bytes.set(nan)
            return
        self._space_until = self._clock.seconds() + self._limits.space_age
        if space is not None:
            self._metrics.store_free_bytes.set(space.free)
            self._metrics.store_size_bytes.set(space.size)
