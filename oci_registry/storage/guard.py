"""Deadlines and circuit breakers around any driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.direction import Direction
from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
)
from oci_registry.streams.breaker import BreakerLimits

T = TypeVar("T")

MIB = 1024 * 1024
READ = "read"
WRITE = "write"
_BREAKER = BreakerLimits(failures=3, first_pause=1.0, longest_pause=30.0)


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
    breaker: BreakerLimits = _BREAKER


@implementer(IStoredObject)
class _GuardedObject:
    """A stored object whose reads have deadlines."""

    def __init__(self, stored: IStoredObject, reads: Direction, seconds: float) -> None:
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
        self, writer: IObjectWriter, reads: Direction, writes: Direction, limits: StoreLimits
    ) -> None:
        self.append: Callable[[bytes], None] = writer.append
        self.read_now: Callable[[int, int], bytes | None] = writer.read_now
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
        self._reads = Direction(READ, place, clock, driver.check_reading, limits.breaker)
        self._writes = Direction(WRITE, place, clock, driver.check_writing, limits.breaker)

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
