"""Small records that are written to the store in the background, without any client waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.pullthrough.store_health import WRITTEN, StoreHealth
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.waiters import Waiters


@frozen
class RecordLimits:
    """How much may be written at the same time, and how much may wait; times are in seconds.

    *waiting*, *waiting_size*: the number and bytes of waiting records. *slow*: a write that takes longer
    counts as a failure of the store, but is not cancelled. *stopping*: how long `stop` waits for records
    that are not written yet. *lost*: how many keys are remembered whose record was not written. *again*:
    after how long such a record may be written again.
    """

    parallel: int = 8
    waiting: int = 1000
    waiting_size: int = 64 * 1024 * 1024
    slow: float = 30.0
    stopping: float = 10.0
    lost: int = 30_000
    again: float = 10.0


@frozen
class _Record:
    """A waiting write: it starts *after* that of another key, and is skipped if *when* says so."""

    key: str
    work: Callable[[], Awaitable[object]] = field(repr=False)
    size: int
    after: str | None
    when: Callable[[], Awaitable[bool]] | None = field(repr=False)
    important: bool


class RecordWriter:
    """Writes records in the background, one at a time for each key.

    Of several records that wait for a key only the newest is written. Records beyond the limits are
    dropped, the oldest first and the important ones last. A dropped record counts as a failure of the
    store, as does a write that fails or is slow; the caller gets no error. But the key is lost until a
    record was written there, and whoever uses the record may write it again.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, health: StoreHealth, limits: RecordLimits | None = None
    ) -> None:
        self._clock = clock
        self._health = health
        self._limits = limits or RecordLimits()
        self._waiting: dict[str, _Record] = {}
        self._waiting_size = 0
        self._under_way: dict[str, Deferred[None]] = {}
        # Keys whose last record was dropped or could not be written, and when that was.
        self._lost: RecentValues[float] = RecentValues(self._limits.lost)
        self._idle: Waiters[None] = Waiters()
        self._stopped = False

    def __len__(self) -> int:
        """Return how many records are not written yet."""
        return len(self._waiting) + len(self._under_way)

    def is_lost(self, key: str) -> bool:
        """Whether the last record at *key* was dropped or could not be written."""
        return self._lost.peek(key) is not None

    def may_repeat(self, key: str) -> bool:
        """Whether a lost record may be written again: no write is pending, and `again` seconds are over."""
        return (
            self.is_lost(key)
            and key not in self._waiting
            and key not in self._under_way
            and self._clock.seconds() - (self._lost.peek(key) or 0.0) >= self._limits.again
        )

    def write(
        self,
        key: str,
        work: Callable[[], Awaitable[object]],
        *,
        size: int = 0,
        after: str | None = None,
        when: Callable[[], Awaitable[bool]] | None = None,
        important: bool = False,
    ) -> None:
        """Queue *work*, which writes *size* bytes at *key* or deletes it, in place of what waits there.

        It starts when no write at the key *after* waits or is running, whether that succeeded or not.
        *when*, if given, is called then and returns whether to write at all.
        """
        if self._stopped:
            return
        self._take(key)
        self._waiting[key] = _Record(key, work, size, after, when, important)
        self._waiting_size += size
        self._begin()
        while (
            len(self._waiting) > self._limits.waiting
            or self._waiting_size > self._limits.waiting_size
        ):
            self._drop()

    async def discard(self, key: str) -> None:
        """Forget what waits to be written at *key*, and wait until nothing is being written there."""
        self._take(key)
        self._lost.remove(key)
        writing = self._under_way.get(key)
        if writing is not None:
            ended: Deferred[None] = Deferred()

            def end(result: None) -> None:
                ended.callback(None)
                return result

            writing.addBoth(end)
            await ended
            self._lost.remove(key)

    async def stop(self) -> None:
        """Accept no more records, and wait until all are written; give up after `limits.stopping`."""
        self._stopped = True
        if self._under_way:
            try:
                await self._idle.wait().addTimeout(self._limits.stopping, self._clock)
            except DeferredTimeout:
                self._log.error(
                    "gave up on {records} records that the store did not write within {seconds:g} s",
                    records=len(self),
                    seconds=self._limits.stopping,
                )
                self._waiting.clear()
                for writing in list(self._under_way.values()):
                    writing.cancel()

    def _take(self, key: str) -> None:
        record = self._waiting.pop(key, None)
        if record is not None:
            self._waiting_size -= record.size

    def _drop(self) -> None:
        """Drop the oldest record, and an important one only if there is no other."""
        records = self._waiting.values()
        oldest = next((record for record in records if not record.important), next(iter(records)))
        self._take(oldest.key)
        self._lose(oldest.key)
        self._health.record_failure(WRITTEN, StoreError("too many records wait to be written"))

    def _begin(self) -> None:
        while len(self._under_way) < self._limits.parallel:
            record = next(filter(self._may_begin, self._waiting.values()), None)
            if record is None:
                return
            self._take(record.key)
            writing = Deferred.fromCoroutine(self._write(record))
            self._under_way[record.key] = writing
            writing.addErrback(self._crashed).addCallback(self._ended, record.key)

    def _lose(self, key: str) -> None:
        self._lost.put(key, self._clock.seconds())

    def _may_begin(self, record: _Record) -> bool:
        return not (
            record.key in self._under_way
            or record.after in self._under_way
            or record.after in self._waiting
        )

    async def _write(self, record: _Record) -> None:
        slow = self._clock.callLater(self._limits.slow, self._is_slow)
        try:
            if record.when is None or await record.when():
                await record.work()
                self._health.record_success(WRITTEN)
            self._lost.remove(record.key)
        except StoreError as error:
            self._lose(record.key)
            self._health.record_failure(WRITTEN, error)
        except BaseException:
            self._lose(record.key)
            raise
        finally:
            if slow.active():
                slow.cancel()

    def _is_slow(self) -> None:
        error = StoreError(f"a record has not been written in {self._limits.slow:g} s")
        self._health.record_failure(WRITTEN, error)

    def _crashed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a record could not be written", failure)

    def _ended(self, _: None, key: str) -> None:
        del self._under_way[key]
        self._begin()
        if not self._under_way:
            self._idle.fire(None)
