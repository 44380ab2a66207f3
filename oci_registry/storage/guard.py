"""Deadlines and circuit breakers around any driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)
from oci_registry.streams.breaker import Breaker, BreakerLimits
from oci_registry.streams.waiters import Waiters

T = TypeVar("T")

MIB = 1024 * 1024
READ = "read"
WRITE = "write"


@frozen
class StoreLimits:
    """Deadlines of the calls of the store, in seconds.

    A pull makes a look-up and begins a new object before its headers, which leave within 5 s.
    *lookup*: look-ups, opening with the first bytes, the check of `/readyz`; *begin*: a new object;
    *read*: each MiB of a read, or less; *record*: a small object written as a whole; *commit*: the end
    of a new object; *cleanup*: what stopping and giving up wait for.
    """

    lookup: float = 2.0
    begin: float = 2.0
    read: float = 10.0
    record: float = 10.0
    commit: float = 600.0
    cleanup: float = 5.0
    breaker: BreakerLimits = field(factory=BreakerLimits)


def _keep(result: object) -> None:
    """Nothing has to be cleaned up."""


class _Call(Generic[T]):
    """One call of the store, with a deadline; a result that comes later is cleaned up.

    The call itself is not cancelled, since its thread cannot be. *ended* is called with its error or None.
    """

    def __init__(self, ended: Callable[[_Call[T], Exception | None], None]) -> None:
        self.answer: Deferred[T] = Deferred(self._leave)
        self.over = False
        self.waited = False
        self._ended = ended
        self._left = False
        self._timer: IDelayedCall | None = None
        self._clean: Callable[[T], object] = _keep

    def _leave(self, _: Deferred[T]) -> None:
        self._left = True

    def begin(
        self,
        work: Deferred[T],
        clock: IReactorTime,
        seconds: float | None,
        missed: str,
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        """Wait for *work*; after *seconds* fail with what *missed* says."""
        self._clean = clean
        work.addCallbacks(self._arrived, self._failed)
        if not self.over:
            self.waited = True
            if seconds is not None:
                self._timer = clock.callLater(seconds, self._expired, StoreUnavailable(missed))
        return self.answer

    def _arrived(self, result: T) -> None:
        if self._left:
            cleaning = maybeDeferred(self._clean, result)
            cleaning.addErrback(lambda _: None).addCallback(lambda _: self._end(None))
        else:
            self._end(None)
            self.answer.callback(result)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        self._end(error if isinstance(error, Exception) else None)
        if not self._left:
            self.answer.errback(failure)

    def _expired(self, error: StoreUnavailable) -> None:
        self._timer = None
        self._end(error)
        if not self._left:
            self._left = True
            self.answer.errback(error)

    def _end(self, error: Exception | None) -> None:
        self.forget()
        if not self.over or error is None:
            # An answer that comes too late still shows that the medium answers: it is busy, and the
            # calls wait for each other.
            self.over = True
            self._ended(self, error)

    def forget(self) -> None:
        """Cancel the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Direction:
    """All reads, or all writes: their circuit breaker and the running calls."""

    _log = Logger()

    def __init__(
        self,
        name: str,
        place: str,
        clock: IReactorTime,
        probe: Callable[[], Deferred[None]],
        limits: BreakerLimits,
    ) -> None:
        self._name = name
        self._place = place
        self._clock = clock
        self._calls: set[_Call[Any]] = set()
        self._idle: Waiters[None] = Waiters()
        self.breaker = Breaker(clock, probe, self._opened, self._closed, limits)

    def ask(
        self,
        seconds: float | None,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object] = _keep,
        *,
        local: bool = False,
    ) -> Deferred[T]:
        """Make a call, unless the breaker is open; *clean* cleans up a result that comes too late.

        *local*: a success of the call does not show that the medium works.
        """
        reason = self.breaker.reason
        if reason is not None:
            return fail(StoreUnavailable(f"{reason} (circuit breaker open)"))
        return self._begin(
            _Call(self._judge_local if local else self._judge), seconds, begin, clean
        )

    def ask_always(self, seconds: float, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Make a call that the breaker neither prevents nor counts."""
        return self._begin(_Call(self._pass), seconds, begin, _keep)

    def _begin(
        self,
        call: _Call[T],
        seconds: float | None,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object],
    ) -> Deferred[T]:
        missed = (
            f"the store at {self._place} did not answer within {seconds or 0:g} s ({self._name})"
        )
        self._calls.add(call)
        try:
            work = begin()
        except BaseException:
            self._calls.discard(call)
            raise
        return call.begin(work, self._clock, seconds, missed, clean)

    def _pass(self, call: _Call[T], error: Exception | None) -> None:
        self._forget(call)

    def _forget(self, call: _Call[T]) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._idle.fire(None)

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when no call is running or being cleaned up."""
        return self._idle.wait() if self._calls else succeed(None)

    def _judge(self, call: _Call[T], error: Exception | None) -> None:
        self._judge_local(call, error)
        answered = error is None or type(error) is StoreError
        # A plain StoreError, such as a full disk, comes at once, so it counts as a success. A result
        # that needed no waiting came from memory and shows nothing.
        if answered and call.waited:
            self.breaker.record_success()

    def _judge_local(self, call: _Call[T], error: Exception | None) -> None:
        self._forget(call)
        if isinstance(error, StoreUnavailable):
            self.breaker.record_failure(str(error))

    def _opened(self, reason: str) -> None:
        self._log.warn(
            "{reason}: circuit breaker open for {name}s, the store is probed in the background",
            reason=reason,
            name=self._name,
        )

    def _closed(self, seconds: float) -> None:
        self._log.info(
            "the store at {place} answers {name}s again: circuit breaker closed after {seconds:.0f} s",
            place=self._place,
            name=self._name,
            seconds=seconds,
        )

    def stop(self) -> None:
        """Cancel all timers."""
        self.breaker.stop()
        for call in self._calls:
            call.forget()


@implementer(IStoredObject)
class _GuardedObject:
    """A stored object whose reads have deadlines."""

    def __init__(self, stored: IStoredObject, reads: _Direction, seconds: float) -> None:
        self.info: ObjectInfo = stored.info
        self.head: bytes = stored.head
        self.read_now: Callable[[int, int], bytes | None] = stored.read_now
        self.close: Callable[[], None] = stored.close
        self._stored = stored
        self._reads = reads
        self._seconds = seconds

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        seconds = self._seconds * max(1.0, length / MIB)
        return self._reads.ask(seconds, lambda: self._stored.read(offset, length))


@implementer(IObjectWriter)
class _GuardedWriter:
    """A writer whose commit, cancel and reads have deadlines."""

    def __init__(
        self, writer: IObjectWriter, reads: _Direction, writes: _Direction, limits: StoreLimits
    ) -> None:
        self.append: Callable[[bytes], None] = writer.append
        self.close: Callable[[], None] = writer.close
        self._writer = writer
        self._reads = reads
        self._writes = writes
        self._limits = limits

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        # New objects may grow on another medium: a failure there says nothing about the store.
        seconds = self._limits.read * max(1.0, length / MIB)
        return self._reads.ask_always(seconds, lambda: self._writer.read(offset, length))

    def commit(self) -> Deferred[None]:
        return self._writes.ask(self._limits.commit, self._writer.commit)

    def cancel(self) -> Deferred[None]:
        return self._writes.ask_always(self._limits.cleanup, self._writer.cancel)


@implementer(IDriver)
class GuardedDriver:
    """A driver whose calls fail with `StoreUnavailable` by their deadlines, at once while its medium hangs.

    Reads and writes have separate circuit breakers. Calls that miss their deadline or fail with
    `StoreUnavailable` open a breaker; the checks of the driver close it again. *place* names the medium
    in messages. An object that arrives after its deadline is closed.
    """

    _log = Logger()

    def __init__(
        self, driver: IDriver, place: str, clock: IReactorTime, limits: StoreLimits | None = None
    ) -> None:
        self.sweep_interval: float = driver.sweep_interval
        self.check_interval: float = driver.check_interval
        self._checked_until = 0.0
        self._driver = driver
        self._clock = clock
        self._limits = limits = limits or StoreLimits()
        self._reads = _Direction(READ, place, clock, driver.check_reading, limits.breaker)
        self._writes = _Direction(WRITE, place, clock, driver.check_writing, limits.breaker)

    def start(self) -> Deferred[None]:
        return self._driver.start()

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for direction in (self._reads, self._writes):
            direction.stop()
            # Wait until the late results of cancelled calls are cleaned up.
            with suppress(DeferredTimeout):
                await direction.idle().addTimeout(self._limits.cleanup, self._clock)
        try:
            await self._writes.ask_always(self._limits.cleanup, self._driver.stop)
        except StoreError as error:
            self._log.warn("{error}", error=str(error))

    # -- checks

    def check(self) -> Deferred[None]:
        """Check both directions, unless that went well less than `check_interval` ago."""
        closed = self._reads.breaker.reason is None and self._writes.breaker.reason is None
        if closed and self._checked_until > self._clock.seconds():
            return succeed(None)
        both = gatherResults([self.check_reading(), self.check_writing()], consumeErrors=True)
        return both.addCallbacks(self._was_checked, _first)

    def _was_checked(self, _: object) -> None:
        self._checked_until = self._clock.seconds() + self.check_interval

    def check_reading(self) -> Deferred[None]:
        return self._reads.ask(self._limits.lookup, self._driver.check_reading)

    def check_writing(self) -> Deferred[None]:
        return self._writes.ask(self._limits.lookup, self._driver.check_writing)

    # -- what a client waits for

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self._reads.ask(self._limits.lookup, lambda: self._driver.stat(key))

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        opening = self._reads.ask(
            self._limits.lookup, lambda: self._driver.open(key, head, start, stop), _close
        )
        return opening.addCallback(self._guard_object)

    def _guard_object(self, stored: IStoredObject | None) -> IStoredObject | None:
        if stored is None:
            return None
        return _GuardedObject(stored, self._reads, self._limits.read)

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self._reads.ask(self._limits.lookup, lambda: self._driver.get(key, limit))

    def link(self, key: str) -> Deferred[str | None]:
        return self._reads.ask(self._limits.lookup, lambda: self._driver.link(key))

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        creating = self._writes.ask(
            self._limits.begin, lambda: self._driver.create(key, size), _discard, local=True
        )
        return creating.addCallback(
            lambda writer: _GuardedWriter(writer, self._reads, self._writes, self._limits)
        )

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self._writes.ask(self._limits.record, lambda: self._driver.put(key, data))

    # -- what nobody waits for

    def seal(self, key: str) -> Deferred[None]:
        return self._writes.ask(None, lambda: self._driver.seal(key))

    def touch(self, key: str, used: float) -> Deferred[None]:
        return self._writes.ask(None, lambda: self._driver.touch(key, used))

    def delete(self, key: str) -> Deferred[bool]:
        return self._writes.ask(None, lambda: self._driver.delete(key))

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._writes.ask(None, lambda: self._driver.delete_many(keys))

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return self._writes.ask(None, lambda: self._driver.begin_sweep(oldest))

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        return self._driver.list(prefix)


def _first(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


def _close(stored: IStoredObject | None) -> None:
    if stored is not None:
        stored.close()


def _discard(writer: IObjectWriter) -> Deferred[None]:
    # Errors are ignored: leftovers are removed at the next start.
    return writer.cancel().addBoth(lambda _: writer.close())
