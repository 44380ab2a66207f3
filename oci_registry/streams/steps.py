"""Long work in steps: between two of them the reactor does all else that is due."""

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
    """Return pauses until the next iteration of the reactor."""

    def pause() -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda _: delayed.cancel())
        delayed = clock.callLater(0, waiting.callback, None)
        return waiting

    return pause


def no_pause() -> Deferred[None]:
    """Go on at once, where nobody waits."""
    return succeed(None)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*, which has nothing to wait for, as without pauses."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("it waits for something")


def switch_often() -> None:
    """Let a thread that computes in Python give way to others after half a millisecond.

    A request needs the interpreter several times, each time after a system call, and would wait 5 ms each
    time while a large file of upstreams is parsed in another thread.
    """
    sys.setswitchinterval(SWITCH)
