"""Passes bytes through a thread, in batches and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from oci_registry.streams.memory import REUSED
from oci_registry.streams.recorder import Batch

BATCH = REUSED
"""Bytes that are passed to the thread at once; hashing them takes less than a millisecond."""
FIRST = 256 * 1024
"""Bytes of the first batch, which readers wait for; each further one may be twice as large."""
FLUSH_DELAY = 0.01
"""Seconds that an incomplete batch may wait for more bytes."""


async def _accept_nothing(_: Batch) -> None:
    """Do nothing with a batch."""


def _ignore(_: Failure | None) -> None:
    """Do nothing at the end."""


class Batches:
    """Collects bytes and records them in a thread, one batch at a time, so no lock is needed.

    *record* records them in a thread. *accept* gets what it returns, before the next batch is begun.
    *rested* is called when all bytes are processed, or with the failure if *record* or *accept* raises;
    nothing more is processed after a failure. *batch*: the size of a batch, after the first ones.
    """

    def __init__(
        self,
        record: Callable[[list[bytes]], Deferred[Batch]],
        clock: IReactorTime,
        accept: Callable[[Batch], Awaitable[None]],
        rested: Callable[[Failure | None], None],
        batch: int = BATCH,
    ) -> None:
        self.working = False
        """Whether a batch is being recorded or accepted."""
        self._record = record
        self._clock = clock
        self._accept = accept
        self._rested = rested
        self._batch = batch
        self._due = min(FIRST, batch)
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._ended = False
        self._flush: IDelayedCall | None = None

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._work()

    def end(self) -> None:
        """Process the rest without waiting for more bytes."""
        self._ended = True
        self._work()
        if not self.working:
            self._rested(None)

    def stop(self) -> None:
        """Drop waiting bytes; those that a thread is writing are still accepted."""
        self._pending.clear()
        self._pending_bytes = 0
        self._cancel_flush()

    def close(self) -> None:
        """Forget the callbacks, since nothing more is added; those who made them are freed sooner."""
        self._accept, self._rested = _accept_nothing, _ignore

    def _work(self) -> None:
        if self.working:
            return
        if self._is_due():
            self._start()
        elif self._pending and self._flush is None:
            self._flush = self._clock.callLater(FLUSH_DELAY, self._start)

    def _is_due(self) -> bool:
        return self._pending_bytes >= (1 if self._ended else self._due)

    def _start(self) -> None:
        self._cancel_flush()
        self.working = True
        Deferred.fromCoroutine(self._go()).addCallbacks(lambda _: self._rest(None), self._rest)

    async def _go(self) -> None:
        while self._pending:
            await self._accept(await self._record(self._next()))
            if not self._is_due():
                return

    def _next(self) -> list[bytes]:
        chunks: list[bytes] = []
        length = 0
        while self._pending and length < self._batch:
            chunks.append(self._pending.popleft())
            length += len(chunks[-1])
        self._pending_bytes -= length
        self._due = min(2 * self._due, self._batch)
        return chunks

    def _rest(self, crashed: Failure | None) -> None:
        self.working = False
        if crashed is not None:
            self.stop()
        self._rested(crashed)
        self._work()

    def _cancel_flush(self) -> None:
        flush, self._flush = self._flush, None
        if flush is not None and flush.active():
            flush.cancel()
