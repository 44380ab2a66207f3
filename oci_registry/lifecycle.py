"""Parts that are started one after the other, and stopped in the opposite order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

STOP_TIMEOUT = 10.0
"""Seconds that stopping one part may take, unless its step says otherwise."""


STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that stop the daemon."""


@contextmanager
def further_signals(
    from_thread: Callable[[Callable[[], None]], object], react: Callable[[], None]
) -> Iterator[None]:
    """Call *react* in the reactor for further signals to stop while the daemon is stopping.

    Otherwise the reactor would stop a second time, which is an error. *from_thread*: its
    ``callFromThread``. Only the main thread can do this.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        signal.signal(number, lambda *_: from_thread(react))
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: the previous handler was not set by Python, so it cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _nothing() -> None:
    """Do nothing."""


@frozen
class Step:
    """How one part of the daemon starts and stops.

    *start* returns at once. *stop* may return a Deferred or a coroutine; it is waited for, up to
    *stop_timeout* seconds.
    """

    name: str
    start: Callable[[], object] = _nothing
    stop: Callable[[], Coroutine[Any, Any, object] | Deferred[Any] | None] = _nothing
    stop_timeout: float = STOP_TIMEOUT


class Lifecycle:
    """Starts the parts of a daemon in order, and stops them in the opposite order."""

    _log = Logger()

    def __init__(self, steps: Sequence[Step], clock: IReactorTime) -> None:
        self._steps = steps
        self._clock = clock

    def start(self) -> None:
        """Start every part; stop at the first error and raise it."""
        for step in self._steps:
            step.start()

    async def stop(self) -> None:
        """Stop every part; log those that fail or time out, and continue with the others."""
        for step in reversed(self._steps):
            stopping = maybeDeferred(step.stop)
            try:
                await stopping.addTimeout(step.stop_timeout, self._clock)
            except DeferredTimeout:
                self._log.error(
                    "stopping the {name} timed out after {seconds:g} s: continuing",
                    name=step.name,
                    seconds=step.stop_timeout,
                )
            except Exception:
                self._log.failure("stopping the {name} failed", name=step.name)
