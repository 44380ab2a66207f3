"""Runs the code of the store to its end, without a reactor.

A driver runs calls in the threads that it is given. Here, each call is made at once in this thread, and
the returned Deferred has already fired. So a command is plain sequential code, and Ctrl-C ends it like
any other program.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, execute
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from oci_registry.streams.threads import Lanes

T = TypeVar("T")


def at_once(call: Callable[..., T], *args: object) -> Deferred[T]:
    """Make a call in this thread: a `RunInThread`."""
    return execute(call, *args)


LANES = Lanes(lookup=at_once, ingest=at_once, commit=at_once, housekeeping=at_once)


class CommandClock(Clock):
    """The clock of a driver without a reactor; delayed calls are never made."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now

    def seconds(self) -> float:
        """Return the seconds since the epoch."""
        return self._now()

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        """Make a call at once, since there is only one thread."""
        call(*args)


def now(work: Awaitable[T]) -> T:
    """Return or raise the outcome of *work*, which only waits for calls made `at_once`."""
    results: list[Any] = []
    running: Deferred[Any] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    running.addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    found: T = result
    return found


def each(items: AsyncIterator[T]) -> Iterator[T]:
    """Yield the items of an asynchronous iterator."""
    while True:
        try:
            yield now(anext(items))
        except StopAsyncIteration:
            return
