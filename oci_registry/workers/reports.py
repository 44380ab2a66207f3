"""Reports of a worker to the core: lines of the access log, and counts."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from oci_registry.workers.messages import pack

INTERVAL = 0.25
"""Seconds between two reports; counts since the last one are lost if a worker is killed."""
MOST_TARGETS = 100
"""The maximum number of targets in one report, each of which may be long."""

_STATUS = "/proc/self/statm"
_PAGE = os.sysconf("SC_PAGE_SIZE")

Send = Callable[[bytes], None]


def resident_memory() -> int | None:
    """Return the resident memory of this process in bytes.

    None if it is not known: connections may have taken all descriptors, or the system does not tell.
    """
    try:
        with open(_STATUS, "rb") as file:
            _, resident, *_ = file.read().split()
    except OSError:
        return None
    return int(resident) * _PAGE


def consumption() -> tuple[float, int | None]:
    """Return the CPU seconds that this process has used, and its `resident_memory`."""
    return time.process_time(), resident_memory()


class _Nothing:
    """Counts nothing."""

    def labels(self, *_: str) -> _Nothing:
        return self

    def inc(self, amount: float = 1) -> None:
        """Do nothing."""


class Responses:
    """Counts responses as `Metrics` does, to be reported; a worker counts no bytes of blobs."""

    client_bytes = _Nothing()

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str, str]] = Counter()

    def response(self, route: str, method: str, status: str, seconds: float) -> None:
        """Count a response, with a duration of 0."""
        del seconds
        self.counted[route, method, status] += 1


class Lines:
    """An output of the access log that sends lines to the core, each with the number of the worker.

    *room*: whether the core can take more; otherwise lines are dropped, and the next message has their
    number.
    """

    def __init__(self, send: Send, room: Callable[[], bool], number: int, form: str) -> None:
        self._send = send
        self._room = room
        # The new field comes last, so that the fields before it stay the same.
        self._end = "}\n" if form == "json" else "\n"
        self._named = f', "worker": {number}}}\n' if form == "json" else f" worker={number}\n"
        self._dropped = 0

    def write(self, text: str) -> None:
        """Send one or more whole lines."""
        if not self._room():
            self._dropped += text.count("\n")
            return
        named = text.replace(self._end, self._named)
        dropped, self._dropped = self._dropped, 0
        # Lines are ASCII. The log bounds the size of a batch.
        self._send(pack("lines", named.encode("ascii", "backslashreplace"), dropped=dropped))

    def flush(self) -> None:
        """Do nothing: no lines are buffered here."""


class Reports:
    """Sends counts to the core, with some delay.

    *connections*: returns their number. *consumed*: a function such as `consumption`.
    """

    def __init__(
        self,
        send: Send,
        responses: Responses,
        uses: Counter[bytes],
        connections: Callable[[], int],
        reactor: Any,
        consumed: Callable[[], tuple[float, int | None]] = consumption,
    ) -> None:
        self._send = send
        self._responses = responses
        self._uses = uses
        self._connections = connections
        self._consumed = consumed
        self._reactor = reactor
        self._due: IDelayedCall | None = None

    def changed(self) -> None:
        """Take note that a count has changed, to report it soon."""
        if self._due is None:
            self._due = self._reactor.callLater(INTERVAL, self.send)

    def send(self) -> None:
        """Report everything now."""
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._due = None
        uses = [(target.decode("latin-1"), times) for target, times in self._uses.items()]
        responses = [(*key, times) for key, times in self._responses.counted.items()]
        self._uses.clear()
        self._responses.counted.clear()
        first, rest = uses[:MOST_TARGETS], uses[MOST_TARGETS:]
        cpu, memory = self._consumed()
        now: dict[str, Any] = {
            "connections": self._connections(),
            "cpu": cpu,
            "memory": memory,
        }
        self._send(pack("count", responses=responses, uses=first, **now))
        while rest:
            part, rest = rest[:MOST_TARGETS], rest[MOST_TARGETS:]
            self._send(pack("count", responses=[], uses=part, **now))
