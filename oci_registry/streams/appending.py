"""A deadline for appends: a download does not wait for a store that hangs."""

from __future__ import annotations

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from oci_registry.streams.recorder import Batch, Recorder
from oci_registry.streams.threads import RunInThread


@define(eq=False)
class _Append:
    """An append under way: what it is answered with, when its thread has returned, and the deadline."""

    answer: Deferred[Batch] = Factory(Deferred)
    returned: Deferred[None] = Factory(Deferred)
    timer: IDelayedCall | None = None


class RecordInTime:
    """Records bytes in a thread; if the append hangs, they are returned as not stored.

    *seconds*: how long an append may take. The thread cannot be stopped: it is left behind, and the
    recorder stores nothing more.
    """

    def __init__(
        self, recorder: Recorder, run: RunInThread, clock: IReactorTime, seconds: float
    ) -> None:
        self._recorder = recorder
        self._run = run
        self._clock = clock
        self._seconds = seconds

    def __call__(self, chunks: list[bytes]) -> Deferred[Batch]:
        """Return a Deferred of the batch; it has an error if it could not be stored in time."""
        work = self._run(self._recorder.record, chunks)
        if work.called or not self._recorder.storing:
            return work
        append = _Append()
        append.timer = self._clock.callLater(self._seconds, self._check, append)
        work.addBoth(self._ended, append)
        return append.answer

    def _check(self, append: _Append) -> None:
        append.timer = None
        batch = self._recorder.give_up(self._seconds, append.returned)
        if batch is None:
            # Nothing is being appended: the call waits for a free thread, or has just ended.
            append.timer = self._clock.callLater(self._seconds, self._check, append)
        else:
            append.answer.callback(batch)

    def _ended(self, result: Batch | Failure, append: _Append) -> None:
        append.returned.callback(None)
        if append.timer is not None:
            append.timer.cancel()
            append.timer = None
            append.answer.callback(result)
