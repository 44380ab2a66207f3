"""Thread pools with a name and a life of their own, so that one kind of work cannot starve another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class RunInThread(Protocol):
    """Run a blocking call off the reactor and hand its result back on it."""

    def __call__(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        """Return a Deferred of what ``call(*args)`` returns or raises."""


class Workers:
    """A bounded pool of threads; callable, so that it is a `RunInThread`.

    What is submitted waits for a free thread in arrival order. The number of waiting calls is bounded
    by the callers: each request or transfer has at most two calls under way.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str, threads: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)

    def start(self) -> None:
        """Accept work."""
        self._pool.start()

    def stop(self) -> None:
        """Finish what was submitted, then end the threads; blocks until they are gone."""
        self._pool.stop()

    def __call__(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, call, *args)


@frozen
class Lanes:
    """The threads that a store works in, one pool for each kind of work, so that none waits for another.

    *lookup*: what a client waits for: look-ups, opening and reading objects, beginning new ones,
    readiness. *ingest*: hashing and appending what is downloaded. *commit*: what puts an object in its
    place: fsync, rename, the end of an upload, small records. *housekeeping*: listing, deletion, times
    of use, verification of what others put there.
    """

    lookup: RunInThread
    ingest: RunInThread
    commit: RunInThread
    housekeeping: RunInThread
