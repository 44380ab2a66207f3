"""Deadlines and circuit breakers around any driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.direction import Direction, Lost, keep
from oci_registry.storage.inspecting import GuardedInspected, unless_refused
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    Keepable,
    KeptObjects,
    ObjectInfo,
    Space,
    StoreError,
    StoreUnavailable,
)
from oci_registry.streams.breaker import BreakerLimits
from oci_registry.streams.turns import Turns

T = TypeVar("T")

MIB = 1024 * 1024
READ = "read"
WRITE = "write"
_BREAKER = BreakerLimits(failures=3, first_pause=1.0, longest_pause=30.0)


@frozen
class StoreLimits:
    """Deadlines of the calls of the store, in seconds.

    A pull makes a look-up and begins a new object before its headers are sent, within 5 s.
    *lookup*: look-ups, opening with the first bytes, the check of `/readyz`; *begin*: a new object;
    *read*: each MiB of a read, or less; *record*: a small object written as a whole; *commit*: the end
    of a new object; *cleanup*: cleaning up when the daemon stops or a write is cancelled; *start*: the
    preparation at the start; *listing*: one step of a listing; *housekeeping*: calls that no client
    waits for; *probe*: a probe of a circuit breaker. *hanging*: how many appends may hang; while so
    many do, nothing is appended. *alike*: how many look-ups of one key are made at the same time.
    """

    lookup: float = 2.0
    begin: float = 2.0
    read: float = 10.0
    record: float = 10.0
    commit: float = 600.0
    cleanup: float = 5.0
    start: float = 30.0
    listing: float = 60.0
    housekeeping: float = 600.0
    probe: float = 20.0
    hanging: int = 4
    alike: int = 4
    breaker: BreakerLimits = _BREAKER


def _leave(returned: Deferred[None]) -> None:
    """Do nothing about a thread that hangs."""


@frozen
class LostThreads:
    """The callbacks for threads that hang, by their work: probes of each direction, and appends."""

    read_probe: Lost = _leave
    write_probe: Lost = _leave
    append: Lost = _leave


@implementer(IStoredObject)
class _GuardedObject:
    """A stored object whose reads have deadlines."""

    def __init__(self, stored: IStoredObject, reads: Direction, seconds: float) -> None:
        self.info: ObjectInfo = stored.info
        self.head: bytes = stored.head
        self.read_now: Callable[[int, int], bytes | None] = stored.read_now
        self.can_send: Callable[[int], bool] = stored.can_send
        self.send_now: Callable[[int, int, int], int] = stored.send_now
        self.close: Callable[[], None] = stored.close
        self.shared: int | None = stored.shared
        self._stored = stored
        self._reads = reads
        self._seconds = seconds

    def keep(self) -> KeptObjects | None:
        return self._stored.keep() if isinstance(self._stored, Keepable) else None

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        seconds = self._seconds * max(1.0, length / MIB)
        return self._reads.ask(
            seconds, lambda: self._stored.read(offset, length), key=self.info.key
        )


@implementer(IObjectWriter)
class _GuardedWriter:
    """A writer whose commit, cancel and reads have deadlines.

    The caller of append keeps the deadline, and reports an append that hangs; its thread is *lost*.
    """

    def __init__(
        self,
        writer: IObjectWriter,
        reads: Direction,
        writes: Direction,
        limits: StoreLimits,
        lost: Lost,
        key: str,
    ) -> None:
        self.read_now: Callable[[int, int], bytes | None] = writer.read_now
        self.can_send: Callable[[int], bool] = writer.can_send
        self.send_now: Callable[[int, int, int], int] = writer.send_now
        self.close: Callable[[], None] = writer.close
        self._lost = lost
        self._key = key
        self._writer = writer
        self._reads = reads
        self._writes = writes
        self._limits = limits

    def append(self, data: bytes) -> None:
        if self._writes.hanging >= self._limits.hanging:
            raise StoreUnavailable(f"{self._writes.hanging} appends to the store hang")
        self._writer.append(data)

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        self._writer.append_hangs(seconds, returned)
        self._lost(returned)
        return self._writes.append_hangs(seconds, returned)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        # New objects may grow on another medium: a failure there says nothing about the store.
        seconds = self._limits.read * max(1.0, length / MIB)
        return self._reads.ask_always(seconds, lambda: self._writer.read(offset, length))

    def commit(self) -> Deferred[None]:
        return self._writes.ask(self._limits.commit, self._writer.commit, key=self._key)

    def cancel(self) -> Deferred[None]:
        return self._writes.ask_always(self._limits.cleanup, self._writer.cancel)


@implementer(IDriver)
class GuardedDriver:
    """A driver whose calls fail with `StoreUnavailable` at their deadlines, or at once while its medium
    hangs.

    Reads and writes have separate circuit breakers. Calls that miss their deadline or fail with
    `StoreUnavailable` open a breaker, unless all of them are about one object; the checks of the driver
    close it again. *place* names the medium in messages. An object that arrives after its deadline is
    closed. *lost*: how to replace threads.
    """

    _log = Logger()

    def __init__(
        self,
        driver: IDriver,
        place: str,
        clock: IReactorTime,
        limits: StoreLimits = StoreLimits(),
        lost: LostThreads = LostThreads(),
    ) -> None:
        self.sweep_interval: float = driver.sweep_interval
        self.check_interval: float = driver.check_interval
        self._driver = driver
        self._clock = clock
        self._limits = limits
        self._lost = lost
        self._reads = Direction(
            READ, place, clock, driver.check_reading, limits.breaker, limits.probe, lost.read_probe
        )
        self._writes = Direction(
            WRITE,
            place,
            clock,
            driver.check_writing,
            limits.breaker,
            limits.probe,
            lost.write_probe,
        )
        self._turns = Turns(limits.alike)
        self._checked_until = {READ: 0.0, WRITE: 0.0}

    def start(self) -> Deferred[None]:
        return self._writes.ask_always(self._limits.start, self._driver.start)

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
        """Check both directions."""
        both = gatherResults([self.check_reading(), self.check_writing()], consumeErrors=True)
        return both.addCallbacks(lambda _: None, _first)

    def check_reading(self) -> Deferred[None]:
        return self._check(READ, self._reads, self._driver.check_reading)

    def check_writing(self) -> Deferred[None]:
        return self._check(WRITE, self._writes, self._driver.check_writing)

    def _check(
        self, name: str, direction: Direction, check: Callable[[], Deferred[None]]
    ) -> Deferred[None]:
        """Check a direction, unless the last check succeeded less than `check_interval` ago."""
        if direction.breaker.reason is None and self._checked_until[name] > self._clock.seconds():
            return succeed(None)

        def checked(_: None) -> None:
            self._checked_until[name] = self._clock.seconds() + self.check_interval

        return direction.ask(self._limits.lookup, check).addCallback(checked)

    def space(self) -> Deferred[Space | None]:
        return self._reads.ask(self._limits.lookup, self._driver.space)

    # -- calls that a client waits for

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return self._look_up(key, lambda: self._driver.stat(key))

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        opening = self._look_up(key, lambda: self._driver.open(key, head, start, stop), _close)
        return opening.addCallback(self._guard_object)

    def _guard_object(self, stored: IStoredObject | None) -> IStoredObject | None:
        if stored is None:
            return None
        return _GuardedObject(stored, self._reads, self._limits.read)

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return self._look_up(key, lambda: self._driver.get(key, limit))

    def link(self, key: str) -> Deferred[str | None]:
        return self._look_up(key, lambda: self._driver.link(key))

    def _look_up(
        self,
        key: str,
        begin: Callable[[], Deferred[T]],
        clean: Callable[[T], object] = keep,
    ) -> Deferred[T]:
        """Make a look-up, after earlier ones of the same key if they hang: those of others have threads."""
        until = self._clock.seconds() + self._limits.lookup

        def in_time() -> Deferred[T]:
            if self._clock.seconds() >= until:
                return fail(StoreUnavailable("nobody waits for this look-up any more"))
            return begin()

        turn = partial(self._turns.run, key, in_time)
        return self._reads.ask(self._limits.lookup, turn, clean, key=key)

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        creating = self._writes.ask(
            self._limits.begin,
            lambda: self._driver.create(key, size),
            _discard,
            local=True,
            key=key,
        )
        return creating.addCallback(
            lambda writer: _GuardedWriter(
                writer, self._reads, self._writes, self._limits, self._lost.append, key
            )
        )

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self._writes.ask(self._limits.record, lambda: self._driver.put(key, data), key=key)

    def persist(self, key: str) -> Deferred[None]:
        return self._writes.ask(self._limits.record, lambda: self._driver.persist(key), key=key)

    # -- calls that nobody waits for

    def seal(self, key: str) -> Deferred[None]:
        return self._keep_house(lambda: self._driver.seal(key))

    def touch(self, key: str, used: float) -> Deferred[None]:
        return self._keep_house(lambda: self._driver.touch(key, used))

    def delete(self, key: str) -> Deferred[bool]:
        return self._keep_house(lambda: self._driver.delete(key))

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._keep_house(lambda: self._driver.delete_many(keys))

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return self._keep_house(lambda: self._driver.begin_sweep(oldest))

    def _keep_house(self, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        return self._writes.ask(self._limits.housekeeping, begin)

    def marked(
        self, prefix: str, mark: str, after: str, limit: int
    ) -> Deferred[tuple[Sequence[str], bool]]:
        return self._reads.ask(
            self._limits.listing, lambda: self._driver.marked(prefix, mark, after, limit)
        )

    def inspect(self, key: str) -> Deferred[IInspectedObject | None]:
        opening = partial(self._driver.inspect, key)
        seconds = self._limits.listing
        return unless_refused(self._reads, seconds, opening).addCallback(self._guard_inspected)

    def _guard_inspected(self, inspected: IInspectedObject | None) -> IInspectedObject | None:
        if inspected is None:
            return None
        return GuardedInspected(inspected, self._reads, self._keep_house, self._limits.listing)

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        return self._listing(lambda: self._driver.list(prefix))

    def list_from(self, prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        return self._listing(lambda: self._driver.list_from(prefix, after))

    async def _listing(
        self, begin: Callable[[], AsyncIterator[ObjectInfo]]
    ) -> AsyncIterator[ObjectInfo]:
        refusal = self._reads.refusal
        if refusal is not None:
            raise refusal
        listing = begin()
        while True:
            step = Deferred.fromCoroutine(_next(listing))
            if not step.called:
                # Most steps need no waiting, since a driver lists many objects at once.
                step = self._reads.ask_always(self._limits.listing, partial(_same, step))
            info = await step
            if info is None:
                return
            yield info


async def _next(listing: AsyncIterator[ObjectInfo]) -> ObjectInfo | None:
    # With a default, anext() of Python 3.11 cannot wait for a tuple.
    try:
        return await anext(listing)
    except StopAsyncIteration:
        return None


def _same(work: Deferred[T]) -> Deferred[T]:
    return work


def _first(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


def _close(stored: IStoredObject | None) -> None:
    if stored is not None:
        stored.close()


def _discard(writer: IObjectWriter) -> Deferred[None]:
    # Errors are ignored: leftovers are removed at the next start.
    return writer.cancel().addBoth(lambda _: writer.close())
