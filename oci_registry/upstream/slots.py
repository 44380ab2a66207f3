"""How many requests a host gets at once, and who is next: manifests before blobs, in fair turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import IntEnum

from twisted.internet.defer import Deferred, succeed

from oci_registry.spec.errors import TooManyRequests

MAX_WAITING = 4096
"""Requests that may wait for one host."""


class Turn(IntEnum):
    """What a request is for; the lower goes first."""

    MANIFEST = 0
    """Or a list, or whatever else the host itself answers."""
    SIZE = 1
    """Of a blob."""
    REST = 2
    """Of a blob whose readers have had the beginning."""
    BLOB = 3


class Slot:
    """The right to use one connection, until it is released."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give it to the next. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Slots:
    """At most *limit* requests at once to one host.

    Whoever finds none free waits. Manifests, and all that is as small, go first, then rests of blobs;
    among their like the repositories take turns, so that an image of many layers does not keep the
    others waiting. Blobs and rests may take all slots but an eighth, so that a manifest never waits
    for the end of a blob.
    """

    def __init__(self, limit: int, waiting: Callable[[int], None]) -> None:
        self._limit = limit
        self._blob_limit = max(1, limit - max(1, limit // 8))
        self._used = dict.fromkeys(Turn, 0)
        self._queues: dict[Turn, OrderedDict[str, deque[Deferred[Slot]]]] = {
            turn: OrderedDict() for turn in Turn
        }
        self._waiting = 0
        self._tell = waiting
        self._handing_out = False

    def take(self, turn: Turn, repository: str) -> Deferred[Slot]:
        """Return a Deferred of a slot. Cancelling it leaves the queue.

        Raises `TooManyRequests` when too many are waiting already.
        """
        if self._free(turn) and not self._queues[turn]:
            return succeed(self._give(turn))
        if self._waiting >= MAX_WAITING:
            raise TooManyRequests.retry_after("the mirror has too many requests waiting", 5)
        waiter: Deferred[Slot] = Deferred(lambda d: self._leave(turn, repository, d))
        self._queues[turn].setdefault(repository, deque()).append(waiter)
        self._count(1)
        return waiter

    def _free(self, turn: Turn) -> bool:
        if sum(self._used.values()) >= self._limit:
            return False
        bodies = self._used[Turn.REST] + self._used[Turn.BLOB]
        return turn < Turn.REST or bodies < self._blob_limit

    def _give(self, turn: Turn) -> Slot:
        self._used[turn] += 1
        return Slot(lambda: self._released(turn))

    def _released(self, turn: Turn) -> None:
        self._used[turn] -= 1
        if self._handing_out:
            # Whoever was given a slot has released it at once: the loop below sees to the next.
            return
        self._handing_out = True
        try:
            while (waiting := self._next_turn()) is not None:
                self._next(waiting).callback(self._give(waiting))
        finally:
            self._handing_out = False

    def _next_turn(self) -> Turn | None:
        return next((turn for turn in Turn if self._queues[turn] and self._free(turn)), None)

    def _next(self, turn: Turn) -> Deferred[Slot]:
        queues = self._queues[turn]
        repository, queue = queues.popitem(last=False)
        waiter = queue.popleft()
        if queue:
            queues[repository] = queue
        self._count(-1)
        return waiter

    def _leave(self, turn: Turn, repository: str, waiter: Deferred[Slot]) -> None:
        queues = self._queues[turn]
        queue = queues.get(repository)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del queues[repository]
            self._count(-1)

    def _count(self, more: int) -> None:
        self._waiting += more
        self._tell(self._waiting)
