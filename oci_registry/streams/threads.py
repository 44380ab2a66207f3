"""Named thread pools, so that one kind of work cannot starve another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any, Protocol, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


RETRY = 0.05
"""Seconds until a call is submitted again for which no thread could be started."""
ATTEMPTS = 100
"""How often it is submitted before it fails."""


class RunInThread(Protocol):
    """Runs a blocking call in a thread; its result arrives in the reactor's thread."""

    def __call__(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        """Return a Deferred of what ``call(*args)`` returns or raises."""


class Workers:
    """A bounded pool of threads; callable, so that it is a `RunInThread`.

    Calls wait for a free thread in the order of submission. The number of waiting calls is bounded
    by the callers: each request or transfer has at most two calls under way. *replaced*: how many
    threads that hang are replaced at the same time. If the system has no more threads, as at the limit
    of a container, calls wait some seconds until one of the pool is free, or can be started; then they fail
    with RuntimeError.
    """

    _log = Logger()

    def __init__(self, reactor: Any, name: str, threads: int, replaced: int = 64) -> None:
        self._reactor = reactor
        self._name = name
        self._exhausted = False
        self._threads = threads
        self._most_replaced = replaced
        self._replaced = 0
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)
        # A thread that hangs in a dead file system must not prevent the process from ending.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]

    def start(self) -> None:
        """Accept work."""
        self._pool.start()

    def stop(self, seconds: float = 2.0) -> bool:
        """Finish the submitted calls, then end the threads; return whether they have ended.

        Blocks until then, but no longer than *seconds*. Threads that hang are left behind, and end
        with the process.
        """
        # The pool itself would wait for them without end.
        threads, self._pool.threads = self._pool.threads, []
        self._pool.stop()
        end = monotonic() + seconds
        for thread in threads:
            # One that could not be started cannot be joined either.
            if thread.is_alive():
                thread.join(max(0.0, end - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def replace(self, returned: Deferred[None]) -> None:
        """Add a thread in place of one that hangs, until *returned* fires."""
        if self._replaced < self._most_replaced:
            self._replaced += 1
            threads = self._threads + self._replaced
            # Raising the minimum makes the pool start a thread for waiting calls.
            try:
                self._pool.adjustPoolsize(min(self._pool.workers + 1, threads), threads)
            except RuntimeError as error:
                self._not_started(error)
            self._pool.adjustPoolsize(0, threads)
            returned.addCallback(self._returned)

    def _returned(self, _: None) -> None:
        self._replaced -= 1
        self._pool.adjustPoolsize(0, self._threads + self._replaced)

    def __call__(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        return self._submit(ATTEMPTS, call, *args)

    def _submit(self, attempts: int, call: Callable[..., T], *args: object) -> Deferred[T]:
        try:
            result = deferToThreadPool(self._reactor, self._pool, call, *args)
        except RuntimeError as error:
            self._not_started(error)
            if attempts <= 1:
                return fail(error)
            later: Deferred[None] = deferLater(self._reactor, RETRY)
            return later.addCallback(lambda _: self._submit(attempts - 1, call, *args))
        self._exhausted = False
        return result

    def _not_started(self, error: RuntimeError) -> None:
        # The pool has noted the thread nevertheless.
        self._pool.threads = [each for each in self._pool.threads if each.ident is not None]
        if not self._exhausted:
            self._exhausted = True
            self._log.warn(
                "calls wait for one of {threads} {name} threads: {error}",
                threads=len(self._pool.threads),
                name=self._name,
                error=str(error),
            )


@frozen
class Lanes:
    """The threads that a store works in, one pool for each kind of work, so that none waits for another.

    *lookup*: calls that a client waits for: look-ups, opening and reading objects, readiness. *begin*:
    beginning new objects, and checks of that; if writes hang, reads still have their threads. *ingest*:
    hashing and appending downloads. *commit*: calls that publish an object: fsync, rename, the end of
    an upload, small records. *housekeeping*: listing, deletion, times of use, verification of objects
    of other programs.
    """

    lookup: RunInThread
    ingest: RunInThread
    commit: RunInThread
    housekeeping: RunInThread
    begin: RunInThread = field()

    @begin.default
    def _with_lookup(self) -> RunInThread:
        return self.lookup
