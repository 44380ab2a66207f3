"""A blob that is being downloaded by one transfer and followed by any number of readers.

The writing side is an `IConsumer`: the upstream body is written into it, in batches handed to a thread
that hashes and appends them, and the upstream is paused while too much is waiting. The reading side
hands out followers, each at its own position: recent batches from memory, older bytes from the file.
"""

from __future__ import annotations

from collections import deque
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IPushProducer,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.streams.follower import Follower, TransferFailed
from oci_registry.streams.interfaces import GrowingFile
from oci_registry.streams.threads import RunInThread
from oci_registry.streams.window import Window

TAIL = 64 * 1024
"""Bytes at the end of a blob that no reader gets before the digest is verified."""
BATCH = 256 * 1024
"""Bytes handed to the thread at once; a fraction of a millisecond of hashing."""
WINDOW = 1024 * 1024
"""Bytes of recent batches kept in memory for the followers that keep pace."""
HIGH_WATER = 2 * 1024 * 1024
"""Bytes waiting for the thread above which the upstream is paused."""
UNSTORED_WINDOW = 4 * 1024 * 1024
"""Bytes kept for followers when the store has failed and the file is no help."""
FLUSH_DELAY = 0.01
"""Seconds that less than a batch may wait for more."""
STALL = 10.0
"""Seconds after which a follower that holds up others, because the blob is not stored, is given up."""


@implementer(IConsumer)
class GrowingBlob:
    """The one place where a transfer's bytes are, from the first to the commit.

    *size* is the length that upstream announced, in bytes, or None. *file* is where they are stored;
    if appending fails, `store_error` is set and the blob goes on in memory alone, held to the pace of
    its followers. Bytes become visible to followers when they are hashed; the last `TAIL` of them only
    when the whole is verified (`finish`).
    """

    _log = Logger()

    def __init__(
        self,
        expected: Digest,
        size: int | None,
        file: GrowingFile | None,
        run: RunInThread,
        clock: IReactorTime,
    ) -> None:
        self.digest = expected
        self.size = size
        self.received = 0
        self.digested = 0
        self.stored = 0
        self.verified = False
        self.store_error: Exception | None = None
        self.failure: Exception | None = None
        self._verifier = Verifier(expected)
        self._file = file
        self._storing = file is not None
        self._run = run
        self._clock = clock
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._in_thread = 0
        self._flush: IDelayedCall | None = None
        self._window = Window(BATCH)
        self._followers: set[Follower] = set()
        self._producer: IPushProducer | None = None
        self._paused = False
        self._stall: IDelayedCall | None = None
        self._finished: Deferred[bool] | None = None
        self._released = False

    # -- the writing side

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the upstream body's push producer; it is paused from here on as needed."""
        self._producer = cast(IPushProducer, producer)
        self._regulate()

    def unregisterProducer(self) -> None:
        """The upstream body has ended."""
        self._producer = None
        self._paused = False
        self._regulate()

    def write(self, data: bytes) -> None:
        """Take bytes from upstream, in order."""
        if self.failure is not None or not data:
            return
        self.received += len(data)
        if self.size is not None and self.received > self.size:
            self.fail(TransferFailed(f"upstream sent more than the {self.size} bytes it announced"))
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._work()
        self._regulate()

    def finish(self) -> Deferred[bool]:
        """Upstream has sent its last byte: return whether the digest is right.

        Fires when everything is hashed. If it is right, the tail is out; if not, the blob has failed
        and every follower with it.
        """
        if self.failure is not None:
            return succeed(False)
        finished = self._finished = Deferred()
        self._work()
        return finished

    def fail(self, reason: Exception) -> None:
        """Give up: upstream is stopped, and every follower told, now or at its next read. Idempotent."""
        if self.failure is not None or self.verified:
            return
        self.failure = reason
        self._pending.clear()
        self._pending_bytes = 0
        self._window.clear()
        self._cancel_timers()
        producer, self._producer = self._producer, None
        finished, self._finished = self._finished, None
        self._wake_followers()
        if finished is not None:
            finished.callback(False)
        if producer is not None:
            producer.stopProducing()

    def release(self) -> None:
        """The transfer is over: close the file as soon as the last follower has left."""
        self._released = True
        self._close_if_unused()

    # -- the reading side

    def follow(self, position: int = 0) -> Follower:
        """Return a new reader that starts at *position*."""
        follower = Follower(self, position)
        self._followers.add(follower)
        return follower

    def can_follow(self, position: int) -> bool:
        """Whether a new reader at *position* would find its bytes."""
        return self.failure is None and (position >= self._window.start or position < self.stored)

    @property
    def followers(self) -> int:
        """How many readers there are."""
        return len(self._followers)

    @property
    def visible(self) -> int:
        """How many bytes followers may have by now."""
        if self.verified:
            return self.digested
        known = self.digested if self.size is None else self.size
        return max(0, min(self.digested, known - TAIL))

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes]:
        """Return visible bytes at *position*, which must be below `visible`.

        Raises `TransferFailed` when they are no longer to be had.
        """
        available = min(limit, self.visible - position)
        recent = self._window.get(position, available)
        if recent is not None:
            return recent
        if self._file is not None and position < self.stored:
            return self._file.read(position, min(available, self.stored - position))
        raise TransferFailed("the bytes at this position could not be stored")

    def leave(self, follower: Follower) -> None:
        """A reader has gone or moved on."""
        self._followers.discard(follower)
        if not (self._storing or self._followers or self._released):
            self._abandon()
        self.moved()
        self._close_if_unused()

    def moved(self) -> None:
        """A follower's position has changed: what only it needed may go."""
        if not self._storing:
            self._trim()
            self._regulate()

    def _abandon(self) -> None:
        self.fail(TransferFailed(f"{self.digest}: nobody reads it and it cannot be stored"))

    # -- batches

    def _work(self) -> None:
        """Hand a batch to the thread, if it is free and there is reason to."""
        if self._in_thread or self.failure is not None:
            return
        if self._pending_bytes >= BATCH or (self._pending and self._finished is not None):
            self._start_batch()
        elif self._pending:
            if self._flush is None:
                self._flush = self._clock.callLater(FLUSH_DELAY, self._start_batch)
        elif self._finished is not None:
            self._complete()

    def _start_batch(self) -> None:
        if self._flush is not None:
            if self._flush.active():
                self._flush.cancel()
            self._flush = None
        chunks: list[bytes] = []
        length = 0
        while self._pending and length < BATCH:
            chunks.append(self._pending.popleft())
            length += len(chunks[-1])
        self._pending_bytes -= length
        self._in_thread = length
        self._run(self._hash_and_store, chunks).addCallbacks(self._batch_done, self._batch_crashed)

    def _hash_and_store(self, chunks: list[bytes]) -> tuple[bytes, Exception | None]:
        """In the thread: one pass over the bytes while they are warm."""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._verifier.update(data)
        if self._storing and self._file is not None:
            try:
                self._file.append(data)
            except Exception as error:
                return data, error
        return data, None

    def _batch_done(self, result: tuple[bytes, Exception | None]) -> None:
        data, error = result
        self._in_thread = 0
        if self.failure is not None:
            self._close_if_unused()
            return
        if error is not None and self._storing:
            self._storing = False
            self.store_error = error
            if not self._followers:
                self._abandon()
                self._close_if_unused()
                return
        self.digested += len(data)
        if self._storing:
            self.stored += len(data)
        self._window.append(data)
        self._trim()
        self._work()
        self._regulate()
        self._wake_followers()

    def _batch_crashed(self, failure: Failure) -> None:
        self._in_thread = 0
        self._log.failure("hashing {digest} failed", failure, digest=str(self.digest))
        self.fail(TransferFailed("the mirror failed while hashing this blob"))
        self._close_if_unused()

    def _complete(self) -> None:
        finished, self._finished = self._finished, None
        if self.size is not None and self.received != self.size:
            reason = f"upstream sent {self.received} of the {self.size} bytes it announced"
        elif not self._verifier.verified():
            reason = f"the bytes that upstream sent have the digest {self._verifier.actual()}"
        else:
            reason = ""
        if reason:
            self._finished = finished
            self.fail(TransferFailed(f"{self.digest}: {reason}"))
            return
        self.verified = True
        self.size = self.received
        self._cancel_timers()
        self._wake_followers()
        if finished is not None:
            finished.callback(True)

    def _wake_followers(self) -> None:
        for follower in list(self._followers):
            follower.wake()

    # -- memory

    def _trim(self) -> None:
        """Drop what no follower needs from memory."""
        if self._storing:
            self._window.shrink(WINDOW)
        else:
            floor = min((f.position for f in self._followers), default=self.digested)
            self._window.drop_before(floor)

    def _regulate(self) -> None:
        """Pause or resume the upstream."""
        waiting = self._pending_bytes + self._in_thread
        limit = HIGH_WATER
        if not self._storing:
            waiting += self._window.size
            limit = UNSTORED_WINDOW
        if self._producer is not None:
            if waiting > limit and not self._paused:
                self._paused = True
                self._producer.pauseProducing()
            elif waiting <= limit // 2 and self._paused:
                self._paused = False
                self._producer.resumeProducing()
        self._watch_for_stall(not self._storing and self._paused)

    def _watch_for_stall(self, held_up: bool) -> None:
        if held_up and self._stall is None:
            self._stall = self._clock.callLater(STALL, self._drop_the_slowest)
        elif not held_up and self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _drop_the_slowest(self) -> None:
        """A slow client slows nobody: without a file, those who hold up the others are let go."""
        self._stall = None
        if any(follower.waiting for follower in self._followers):
            floor = min(follower.position for follower in self._followers)
            for follower in [f for f in self._followers if f.position == floor]:
                follower.drop()
        # Where nobody waits for more, the slow hold up no one but themselves: look again later.
        self.moved()

    def _cancel_timers(self) -> None:
        for call in (self._flush, self._stall):
            if call is not None and call.active():
                call.cancel()
        self._flush = self._stall = None

    def _close_if_unused(self) -> None:
        if self._released and not self._followers and not self._in_thread:
            self._window.clear()
            file, self._file = self._file, None
            if file is not None:
                file.close()
