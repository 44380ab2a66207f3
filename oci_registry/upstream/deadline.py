"""Work with a deadline, which ends with CancelledError when its caller cancels it."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.upstream.failures import too_late

T = TypeVar("T")


def pass_on(work: Deferred[T], answer: Deferred[T]) -> None:
    """Give *answer* the result of *work*, unless it has been cancelled and has ended with that.

    Work that is cancelled may have to end something else first.
    """

    def ended(result: T | Failure) -> None:
        if not answer.called:
            answer.callback(result)

    work.addBoth(ended)


def in_time(work: Deferred[T], seconds: float | None, clock: IReactorTime) -> Deferred[T]:
    """Return the result of *work*, which has *seconds* (None: no limit). Raises `too_late` after that.

    A body that is cancelled ends with an error of its own, which would be recorded as a failure of
    the host. So if the caller cancels, the result fails with CancelledError.
    """
    cancelled = False

    def cancel(_: object) -> None:
        nonlocal cancelled
        cancelled = True
        work.cancel()

    def as_asked(failure: Failure) -> Failure:
        return Failure(CancelledError()) if cancelled else failure

    answer: Deferred[T] = Deferred(cancel)
    if seconds is not None:
        work.addTimeout(seconds, clock, too_late)
    pass_on(work.addErrback(as_asked), answer)
    return answer
