"""The connection limiter of a host: permits by priority, round robin over repositories."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from oci_registry.spec.errors import TooManyRequests
from oci_registry.streams.tally import Tally
from oci_registry.upstream.requests import Priority

MAX_WAITING = 4096
"""Requests that may wait for one host."""
FEW = 8
"""With at least this many connections, one is reserved for repositories that have none yet."""


class Permit:
    """The right to use one connection, until it is released."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Return the permit; the next request gets it. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()


class ConnectionLimiter:
    """At most *limit* requests at once to one host.

    If no connection is free, requests wait. Manifests and other small responses go first, then
    resumed blobs, then blobs. Within a priority the repositories take turns, so that an image with
    many layers does not delay the others. An eighth of the connections is reserved for small
    responses. A repository has at most as many as are still free: one alone gets half of them, and
    several that never respond leave some to others. *waiting* is called with the number of waiting
    requests; *most_waiting* is its maximum.
    """

    def __init__(
        self, limit: int, waiting: Callable[[int], None], *, most_waiting: int = MAX_WAITING
    ) -> None:
        self._limit = limit
        self._blob_limit = max(1, limit - max(1, limit // 8))
        self._used = dict.fromkeys(Priority, 0)
        self._used_by: Tally[str] = Tally()
        self._queues: dict[Priority, OrderedDict[str, deque[Deferred[Permit]]]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._most_waiting = most_waiting
        self._waiting = 0
        self._report = waiting
        self._handing_out = False

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait."""
        return self._waiting

    @property
    def used(self) -> int:
        """Return the number of permits in use."""
        return sum(self._used.values())

    @property
    def spare(self) -> bool:
        """Whether no request waits, and at least half of the connections are free."""
        return not self._waiting and self.used * 2 < self._limit

    def take(self, priority: Priority, repository: str) -> Deferred[Permit]:
        """Return a Deferred of a permit; cancelling it leaves the queue.

        Raises `TooManyRequests` if the queue is full.
        """
        if self._next_queue(priority) is None and self._free(priority, repository):
            return succeed(self._give(priority, repository))
        if self._waiting >= self._most_waiting:
            raise TooManyRequests.retry_after("the mirror has too many requests waiting", 5)
        waiter: Deferred[Permit] = Deferred(lambda d: self._leave(priority, repository, d))
        self._queues[priority].setdefault(repository, deque()).append(waiter)
        self._count(1)
        return waiter

    def _free(self, priority: Priority, repository: str) -> bool:
        left = self._limit - self.used
        if left <= 0:
            return False
        if self._limit >= FEW and self._used_by[repository] >= left:
            return False
        bodies = self._used[Priority.REST] + self._used[Priority.BLOB]
        return priority < Priority.REST or bodies < self._blob_limit

    def _give(self, priority: Priority, repository: str) -> Permit:
        self._used[priority] += 1
        self._used_by[repository] += 1
        return Permit(lambda: self._released(priority, repository))

    def _released(self, priority: Priority, repository: str) -> None:
        self._used[priority] -= 1
        self._used_by.end(repository)
        if self._handing_out:
            # A permit that was just given has been released at once: the loop below goes on.
            return
        self._handing_out = True
        try:
            while (waiting := self._next()) is not None:
                priority, repository = waiting
                self._pop(priority, repository).callback(self._give(priority, repository))
        finally:
            self._handing_out = False

    def _next(self) -> tuple[Priority, str] | None:
        """Return the queue whose request is next, None if none may be sent now."""
        for priority in Priority:
            repository = self._next_queue(priority)
            if repository is not None:
                return priority, repository
        return None

    def _next_queue(self, priority: Priority) -> str | None:
        queues = self._queues[priority]
        if self.used >= self._limit:
            return None
        return next((name for name in queues if self._free(priority, name)), None)

    def _pop(self, priority: Priority, repository: str) -> Deferred[Permit]:
        queues = self._queues[priority]
        queue = queues.pop(repository)
        waiter = queue.popleft()
        if queue:
            # Behind the others.
            queues[repository] = queue
        self._count(-1)
        return waiter

    def _leave(self, priority: Priority, repository: str, waiter: Deferred[Permit]) -> None:
        queues = self._queues[priority]
        queue = queues.get(repository)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del queues[repository]
            self._count(-1)

    def _count(self, more: int) -> None:
        self._waiting += more
        self._report(self._waiting)
