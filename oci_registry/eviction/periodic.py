"""Sweeps at regular intervals."""

from __future__ import annotations

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.events import EventLog
from oci_registry.eviction.sweep import Sweep
from oci_registry.metrics import Metrics
from oci_registry.streams.waiters import Waiters


@frozen
class SweepStatus:
    """The running or latest sweep; *began*: its start, in seconds since the epoch.

    *interval*: seconds between two sweeps; *seconds*: how long the last one took; *error*: why it failed.
    None if there was none yet.
    """

    interval: float
    running: bool = False
    began: float | None = None
    seconds: float | None = None
    error: str | None = None


class PeriodicSweep:
    """Runs a sweep every *interval* seconds, also after one has failed."""

    _log = Logger()

    def __init__(
        self,
        sweep: Sweep,
        interval: float,
        clock: IReactorTime,
        metrics: Metrics,
        events: EventLog | None = None,
    ) -> None:
        self._clock = clock
        self._sweep = sweep
        self._interval = interval
        self._metrics = metrics
        self._looping = LoopingCall(self.run)
        self._looping.clock = clock
        self._running: Deferred[object] | None = None
        self._events = events
        self.status = SweepStatus(interval)
        """The state of the sweeps so far."""
        self._waiting: Waiters[None] = Waiters()

    def start(self) -> None:
        """Sweep for the first time after one interval."""
        self._looping.start(self._interval, now=False)

    def stop(self) -> None:
        """Cancel the running sweep, if there is one, and start no more."""
        if self._looping.running:
            self._looping.stop()
        if self._running is not None:
            self._running.cancel()

    def run(self) -> Deferred[None]:
        """Run a sweep now, or wait for the one that is running; failures are logged and counted."""
        if self._running is not None:
            return self._waiting.wait()
        self.status = evolve(self.status, running=True, began=self._clock.seconds(), error=None)
        self._record("begun")
        running: Deferred[object] = Deferred.fromCoroutine(self._sweep.run())
        self._running = running
        return running.addCallbacks(lambda _: None, self._failed).addBoth(self._ended)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.status = evolve(self.status, error="the sweep was cancelled")
            return
        self.status = evolve(self.status, error=failure.getErrorMessage())
        self._metrics.error("sweep")
        self._log.error("the sweep failed: {error}", error=failure.getErrorMessage())

    def _ended(self, _: object) -> None:
        self._running = None
        seconds = self._clock.seconds() - (self.status.began or 0.0)
        self.status = evolve(self.status, running=False, seconds=seconds)
        self._record("ended" if self.status.error is None else "failed")
        self._waiting.fire(None)

    def _record(self, phase: str) -> None:
        if self._events is not None:
            seconds = None if phase == "begun" else self.status.seconds
            self._events.record("sweep", phase=phase, seconds=seconds, error=self.status.error)
