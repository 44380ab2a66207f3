"""The scrub of a running daemon: passes at intervals and on demand."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.scrub.nouns import Counts, Progress
from oci_registry.scrub.one_pass import Pass, Save, began_now
from oci_registry.scrub.pace import Pace, sleeping
from oci_registry.scrub.record import Record
from oci_registry.scrub.times import ScrubTimes
from oci_registry.storage.interfaces import StoreError

MakePass = Callable[[Progress, Save], Pass]
"""Makes a pass that continues from some progress, and saves it with the given function."""


@frozen
class ScrubStatus:
    """The state of the scrub. *since*: when the pass began, in seconds since the epoch; None: there is none.

    Counts are those of the running or latest pass; *ended* is when it ended, None if it has not.
    *position*: the key of the last object that was checked. *refetched*: corrupt objects that were stored
    again. *rate*: bytes per second, 0 for no limit. *problem*: why the last pass stopped before its
    end, or did not check everything.
    """

    running: bool
    position: str
    objects: int
    blobs: int
    bytes: int
    found: int
    quarantined: int
    removed: int
    refetched: int
    dangling: int
    since: float | None
    ended: float | None
    rate: float
    problem: str | None


class Scrub:
    """Runs passes, one at a time; an interrupted one continues from its last position.

    *owner*: a name of this process. *rate*: bytes per second, 0 for no limit.
    """

    _log = Logger()

    def __init__(
        self,
        make_pass: MakePass,
        record: Record,
        clock: IReactorTime,
        metrics: Metrics,
        owner: str,
        rate: float,
        times: ScrubTimes = ScrubTimes(),  # noqa: B008 - it is frozen
    ) -> None:
        self._make_pass = make_pass
        self._record = record
        self._clock = clock
        self._metrics = metrics
        self._owner = owner
        self._rate = self._usual_rate = rate
        self._times = times
        self._pass: Pass | None = None
        self._last: Progress | None = None
        self._running: Deferred[float | None] | None = None
        self._ended: Deferred[None] = succeed(None)
        self._next: IDelayedCall | None = None
        self._problem: str | None = None
        self._closed = False
        metrics.scrub_running.set(0)

    @property
    def status(self) -> ScrubStatus:
        """The state of the scrub."""
        progress = self._last if self._pass is None else self._pass.progress
        counts = Counts() if progress is None else progress.counts
        return ScrubStatus(
            running=self._running is not None,
            position="" if progress is None else progress.after,
            objects=counts.objects,
            blobs=counts.blobs,
            bytes=counts.size,
            found=counts.found,
            quarantined=counts.quarantined,
            removed=counts.removed,
            refetched=counts.restored,
            dangling=counts.dangling,
            since=None if progress is None else progress.began,
            ended=None if progress is None else progress.ended or None,
            rate=self._rate,
            problem=self._problem,
        )

    # -- on demand

    def start(self, rate: float | None = None) -> bool:
        """Begin a pass, or continue an interrupted one; return False if one is running.

        *rate*: bytes per second, for this pass.
        """
        if self._running is not None or self._closed:
            return False
        self._cancel()
        self._rate = self._usual_rate if rate is None else rate
        self._begin(Deferred.fromCoroutine(self._run(wait_for_others=False)))
        return True

    def stop(self) -> Deferred[None]:
        """Stop the pass that is running; its progress is stored. Fires when it has stopped.

        With an interval, it continues an hour later.
        """
        if self._running is not None:
            self._running.cancel()
        return self._ended

    # -- with the daemon

    def open(self) -> None:
        """Start with the daemon."""
        if self._times.interval:
            self._look_in(self._times.first)

    def close(self) -> Deferred[None]:
        """Stop with the daemon: end the running pass, and begin no other."""
        self._closed = True
        self._cancel()
        return self.stop()

    def _cancel(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _look_in(self, seconds: float) -> None:
        if not self._closed:
            self._cancel()
            self._next = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next = None
        if self._running is None:
            self._rate = self._usual_rate
            self._begin(Deferred.fromCoroutine(self._run(wait_for_others=True)))

    def _begin(self, running: Deferred[float | None]) -> None:
        self._ended = Deferred()
        self._running = running
        ended = self._ended
        running.addErrback(self._failed).addCallback(self._is_over, ended)

    def _is_over(self, look: float | None, ended: Deferred[None]) -> None:
        self._running = None
        self._metrics.scrub_running.set(0)
        if look is not None:
            self._look_in(look)
        ended.callback(None)

    def _failed(self, failure: Failure) -> float | None:
        if failure.check(CancelledError):
            self._problem = "it was stopped"
            return self._times.looking if self._times.interval else None
        self._metrics.error("scrub")
        self._problem = failure.getErrorMessage()
        if not failure.check(StoreError):
            self._log.failure("the scrub crashed", failure)
        self._log.error(
            "the scrub stopped, and goes on in {seconds:g} s: {error}",
            seconds=self._times.again,
            error=self._problem,
        )
        return self._times.again

    async def _run(self, *, wait_for_others: bool) -> float | None:
        """Run a pass if it is due; return the seconds until the next check, if there is one."""
        progress = await self._record.load()
        now = self._clock.seconds()
        if progress is not None and not progress.ended and progress.owner not in ("", self._owner):
            # A clock may have been wrong, then or now.
            if abs(now - progress.updated) < self._times.abandoned and wait_for_others:
                return self._times.again
        elif progress is not None and progress.ended and wait_for_others:
            mine, self._last = self._last, progress
            self._metrics.scrub_ended.set(progress.ended)
            unfinished = mine is not None and not mine.ended and mine.began <= progress.ended
            if unfinished and not self._times.interval:
                # Another process has finished the pass that this one was to continue.
                self._problem = None
                return None
            left = progress.began + self._times.interval - now
            if left > 0 and progress.began <= now:
                return min(left, self._times.looking)
        if progress is None or progress.ended:
            progress = began_now(now, self._owner)
            self._log.info("the scrub of the store begins")
        else:
            progress = evolve(progress, owner=self._owner, updated=now)
            self._log.info(
                "the scrub of the store goes on: {objects} objects were checked before",
                objects=progress.counts.objects,
            )
        await self._pass_over(progress)
        return min(self._times.interval, self._times.looking) or None

    async def _pass_over(self, progress: Progress) -> None:
        self._problem = None
        self._metrics.scrub_running.set(1)
        await self._save(progress)
        self._pass = running = self._make_pass(progress, self._save)
        pace = Pace(self._rate, self._clock.seconds, sleeping(self._clock))
        try:
            ended = await running.run(pace)
        finally:
            self._pass, self._last = None, running.progress
        self._problem = running.problem
        self._metrics.scrub_ended.set(ended.ended)
        counts = ended.counts
        self._log.info(
            "the scrub of the store has ended: {objects} objects ({bytes} bytes) checked, {found} corrupt, "
            "{restored} stored again",
            objects=counts.objects,
            bytes=counts.size,
            found=counts.found,
            restored=counts.restored,
        )

    async def _save(self, progress: Progress) -> None:
        try:
            await self._record.save(progress)
        except StoreError as error:
            # Then a later pass begins earlier.
            self._log.warn("cannot store the progress of the scrub: {error}", error=str(error))
