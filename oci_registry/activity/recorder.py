"""Records the activity once a minute, from counters that exist anyway."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.activity.counts import Counts, grown
from oci_registry.activity.file import HistoryFile, OfAnother
from oci_registry.activity.history import LONGEST, BadHistory, History, Part
from oci_registry.streams.threads import RunInThread

INTERVAL = 60.0
"""Seconds between two reads of the numbers, and between two writes of the file."""


class Recorder:
    """Records how much *read* has grown, and keeps that in *file* across restarts; None: it is not kept.

    The file is read and written by *run*, never twice at once. If it cannot be used, that is logged once, and
    tried again each minute. What was counted since the last write is lost with a process that is killed.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        read: Callable[[], Counts],
        run: RunInThread,
        file: HistoryFile | None = None,
    ) -> None:
        self._clock = clock
        self._read = read
        self._run = run
        self._file = file
        self._history = History(clock.seconds())
        self._before = read().row()
        self._when = clock.seconds()
        self._next: IDelayedCall | None = None
        self._stopped = False
        self._working: Deferred[None] = succeed(None)
        self._taken = False
        self._changed = False
        self._told = False

    @property
    def began(self) -> float:
        """The start of the recording, in seconds since the epoch."""
        return min(self._history.began, self._clock.seconds())

    def parts(self, period: str) -> list[Part]:
        """Return the activity in each part of a period, until now."""
        self.record()
        return self._history.parts(period, self._clock.seconds())

    def start(self) -> None:
        """Record from now on, unless it was stopped before."""
        if not self._stopped:
            self._keep()
            self._schedule()

    async def stop(self) -> None:
        """Write the history, and release the file."""
        self._stopped = True
        if self._next is None:
            return
        self._next.cancel()
        self._next = None
        await self._working
        self.record()
        self._keep()
        await self._working
        if self._file is not None:
            self._file.close()

    def record(self) -> None:
        """Record how much the numbers have grown since the last time."""
        now, row = self._clock.seconds(), self._read().row()
        # Most of the growth belongs to the minute before, unless the clock was changed.
        when = min(max(self._when, now - INTERVAL), now)
        new, self._before, self._when = grown(self._before, row), row, now
        if any(new):
            self._history.add(when, new)
            self._changed = True

    def _schedule(self) -> None:
        # At the end of each minute, so that all counts belong to it.
        self._next = self._clock.callLater(INTERVAL - self._clock.seconds() % INTERVAL, self._tick)

    def _tick(self) -> None:
        self._schedule()
        self.record()
        self._keep()

    # -- the file

    def _keep(self) -> None:
        """Lock the file, or write it if something has changed, unless that is running."""
        if self._file is None or not self._working.called:
            return
        done: Deferred[None] = Deferred()
        self._working = done
        work = Deferred.fromCoroutine(self._take_and_write(self._file))
        work.addErrback(self._failed).addBoth(lambda _: done.callback(None))

    async def _take_and_write(self, file: HistoryFile) -> None:
        if not self._taken:
            data = await self._run(file.take)
            self._taken = True
            self._restore(data)
        if self._changed:
            self._changed = False
            try:
                await self._run(file.write, self._history.to_json())
            except BaseException:
                self._changed = True
                raise
        self._told = False

    def _restore(self, data: bytes) -> None:
        if not data:
            return
        try:
            if len(data) > LONGEST:
                raise BadHistory("it is too large")
            self._history.restore(data)
        except BadHistory as error:
            self._log.warn(
                "the history of the activity cannot be read and begins anew: {error}",
                error=str(error),
            )

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) or self._told:
            return
        self._told = True
        if failure.check(OfAnother):
            self._log.info("another process keeps the history of the activity of this store")
        elif failure.check(OSError):
            self._log.warn(
                "the history of the activity cannot be kept: {error}",
                error=failure.getErrorMessage(),
            )
        else:
            self._log.failure("the history of the activity cannot be kept", failure)
