"""A deadline for appends: a download does not wait for a store that hangs."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from oci_registry.streams.recorder import Batch, Recorder
from oci_registry.streams.threads import RunInThread


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
        answer: Deferred[Batch] = Deferred()
        returned: Deferred[None] = Deferred()
        timer: IDelayedCall | None = None

        def check() -> None:
            nonlocal timer
            timer = None
            batch = self._recorder.give_up(self._seconds, returned)
            if batch is None:
                # Nothing is being appended: the call waits for a free thread, or has just ended.
                timer = self._clock.callLater(self._seconds, check)
            else:
                answer.callback(batch)

        def ended(result: Batch | Failure) -> None:
            returned.callback(None)
            if timer is not None:
                timer.cancel()
                answer.callback(result)

        timer = self._clock.callLater(self._seconds, check)
        work.addBoth(ended)
        return answer
