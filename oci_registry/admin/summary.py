"""Summaries of a daemon, as events for followers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.events import SUMMARY, EventLog, Value

INTERVAL = 2.0
"""Seconds between two summaries."""


class Summaries:
    """Passes on the result of *summarize* every two seconds, while there are followers.

    The first follower gets one at once.
    """

    _log = Logger()

    def __init__(
        self, events: EventLog, clock: IReactorTime, summarize: Callable[[], Mapping[str, Value]]
    ) -> None:
        self._events = events
        self._summarize = summarize
        self._looping = LoopingCall(self._pass_on)
        self._looping.clock = clock
        self._clock = clock
        events.costly(SUMMARY, self._switch)

    def _switch(self, followed: bool) -> None:
        if followed and not self._looping.running:
            self._looping.start(INTERVAL).addErrback(self._failed)
        elif not followed and self._looping.running:
            self._looping.stop()

    def _pass_on(self) -> None:
        self._events.pass_on(SUMMARY, **self._summarize())

    def _failed(self, failure: Failure) -> None:
        self._log.failure("the summary failed", failure)
