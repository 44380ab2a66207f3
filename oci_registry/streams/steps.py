"""Long work in steps, between which the reactor handles other events."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")
Pause = Callable[[], Awaitable[object]]
"""Returns an awaitable for a break between two steps."""
SWITCH = 0.0005


def pauses(clock: IReactorTime) -> Pause:
    """Return a function that pauses until the next iteration of the reactor."""

    def pause() -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda _: delayed.cancel())
        delayed = clock.callLater(0, waiting.callback, None)
        return waiting

    return pause


def no_pause() -> Deferred[None]:
    """Continue at once, if nobody else waits for the thread."""
    return succeed(None)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*, which never waits, since it has no pauses."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("it waits for something")


def switch_often() -> None:
    """Let a thread that computes in Python release the interpreter after half a millisecond.

    A request needs the interpreter after each of several system calls, and would wait 5 ms each time
    while another thread parses a large upstream file.
    """
    sys.setswitchinterval(SWITCH)
