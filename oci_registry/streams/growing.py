"""A blob that is being downloaded by one transfer and followed by any number of readers.

The writing side is an `IConsumer`: the upstream body is written into it, in batches handed to a thread
that hashes and appends them, and the upstream is paused while too much is waiting. The reading side
hands out followers, each at its own position: recent batches from memory, older bytes from the file.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.spec.digest import Digest, Prefix
from oci_registry.streams.batches import BATCH, Batches
from oci_registry.streams.comparison import Comparison
from oci_registry.streams.follower import Follower, TransferCrashed, TransferFailed
from oci_registry.streams.interfaces import GrowingFile
from oci_registry.streams.pressure import BackPressure
from oci_registry.streams.readers import Readers
from oci_registry.streams.recorder import Batch, Recorder
from oci_registry.streams.threads import RunInThread
from oci_registry.streams.window import Window

TAIL = 64 * 1024
"""Bytes at the end of a blob that no reader gets before the digest is verified."""
WINDOW = 1024 * 1024
"""Bytes of recent batches kept in memory for the followers that keep pace."""
HIGH_WATER = 2 * 1024 * 1024
"""Bytes waiting for the thread above which the upstream is paused."""
UNSTORED_WINDOW = 4 * 1024 * 1024
"""Bytes kept for followers when the store has failed and the file is no help."""
STALL = 10.0
"""Seconds after which a follower that holds up others, because the blob is not stored, is let go."""


class Unwanted(TransferFailed):
    """Nobody reads the blob any more, and it cannot be stored: it would be downloaded for nothing."""


def _ignore(_: Exception) -> None:
    """Do nothing about an error."""


@implementer(IConsumer)
class GrowingBlob:
    """The one place where a download's bytes are, from the first to the commit.

    *size* is the length that upstream announced, in bytes, or None: the digest decides then. *file*
    is where they are stored; if appending fails, *store_failed* is told why, and the blob goes on in
    memory alone, held to the pace of its followers. *had*: what its only reader has had from elsewhere;
    the blob fails when it does not begin so. Bytes become visible to followers when they are hashed;
    the last `TAIL` of them only when the whole is verified (`finish`).
    """

    _log = Logger()

    def __init__(
        self,
        expected: Digest,
        size: int | None,
        file: GrowingFile | None,
        run: RunInThread,
        clock: IReactorTime,
        store_failed: Callable[[Exception], None] = _ignore,
        had: Prefix | None = None,
    ) -> None:
        self.digest = expected
        self.size = size
        self.received = 0
        self.digested = 0
        self.stored = 0
        self.seen: Prefix | None = None
        self.verified = False
        self.wrong: TransferFailed | None = None
        """What is wrong with the bytes; followers wait, for another download or for `fail`."""
        self.store_error: Exception | None = None
        self.failure: Exception | None = None
        self.successor: GrowingBlob | None = None
        """What goes on in the place of this one, whose bytes were wrong."""
        self._recorder = Recorder(expected, file, had)
        self._batches = Batches(self._recorder.record, run, clock, self._accept, self._rested)
        self._file = file
        self._clock = clock
        self._store_failed = store_failed
        self._window = Window(BATCH)
        self._readers = Readers()
        self._pressure = BackPressure(UNSTORED_WINDOW if file is None else HIGH_WATER)
        self._stall: IDelayedCall | None = None
        self._finished: Deferred[bool] | None = None
        self._released = False
        self._comparison: Comparison | None = None

    # -- the writing side

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the upstream body's push producer; it is paused from here on as needed."""
        self._pressure.register(producer)
        self._regulate()

    def unregisterProducer(self) -> None:
        """The upstream body has ended."""
        self._pressure.unregister()
        self._regulate()

    def write(self, data: bytes) -> None:
        """Take bytes from upstream, in order."""
        if self.failure is not None or self.wrong is not None or not data:
            return
        self.received += len(data)
        excess = 0 if self.size is None else max(0, self.received - self.size)
        if len(data) > excess:
            self._batches.add(data[: len(data) - excess])
        self._regulate()
        if excess:
            self._refuse(f"upstream sent more than the {self.size} bytes it announced")
            self._pressure.stop()

    def finish(self) -> Deferred[bool]:
        """Upstream has sent its last byte: return whether the digest is right.

        Fires when everything is hashed. If it is right, the tail is out; if not, `wrong` says why, or
        `failure` if the blob has failed otherwise.
        """
        if self.failure is not None:
            return succeed(False)
        finished = self._finished = Deferred()
        self._batches.end()
        return finished

    def fail(self, reason: Exception) -> None:
        """Give up: upstream is stopped, and every follower told, now or at its next read. Idempotent."""
        if self.failure is not None or self.verified:
            return
        self.failure = reason
        self._batches.stop()
        self._end(verified=False)
        self._pressure.stop()

    def release(self) -> None:
        """The transfer is over: close the file as soon as the last follower has left."""
        self._released = True
        self._close_if_unused()

    def take_over(self, earlier: GrowingBlob) -> None:
        """Go on in the place of *earlier*, whose bytes were wrong, with its readers; it is released.

        A reader waits until what it has had has come out the same here, and fails if it does not.
        """
        earlier.successor = self
        followers = earlier._readers.take_all()
        for follower in followers:
            follower.move(self)
            self._readers.add(follower)
        if self.size is not None:
            self._readers.check_length(self.size)
        self._fail_beyond(earlier.stored)
        if self._readers.had() and earlier._file is not None:
            had = self._readers.had()
            self._comparison = Comparison(earlier._file, had, earlier.release)
        else:
            earlier.release()

    # -- the reading side

    def follow(self, position: int = 0, announced: int | None = None) -> Follower:
        """Return a new reader that starts at *position*.

        *announced*: how many bytes its client expects the whole to have, if that is not `size`. The
        reader fails with `WrongLength`, before its client has had the last `TAIL` of them, if there
        turn out to be more or fewer.
        """
        if self.successor is not None:
            return self.successor.follow(position, announced)
        follower = Follower(self, position, self.size if announced is None else announced)
        self._readers.add(follower)
        if self.size is not None:
            follower.check_length(self.size)
        return follower

    def can_follow(self, position: int) -> bool:
        """Whether a new reader would find all bytes from *position* on."""
        if self.failure is not None or self.wrong is not None:
            return False
        start = self._window.start
        return position >= start or (position < self.stored and start <= self.stored)

    @property
    def followers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    @property
    def visible(self) -> int:
        """How many bytes followers may have by now."""
        return self.visible_to(None)

    def visible_to(self, announced: int | None) -> int:
        """How many bytes a follower may have by now whose client expects *announced* bytes in all."""
        if self.verified:
            return self.digested
        if self.wrong is not None:
            return 0
        if self.size is not None:
            return max(0, min(self.digested, self.size - TAIL))
        end = self.digested if announced is None else min(self.digested, announced)
        return max(0, end - TAIL)

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes] | None:
        """Return visible bytes at *position*, which must be below `visible`.

        None if they are no longer to be had.
        """
        available = min(limit, self.visible - position)
        recent = self._window.get(position, available)
        if recent is None and self._file is not None and position < self.stored:
            return self._file.read(position, min(available, self.stored - position))
        return recent

    def unreadable(self, error: Exception) -> None:
        """The file could not be read: do without it. Who needs it has lost its place."""
        self.stored = 0
        if not self.verified:
            self._go_on_unstored(error)
        self._readers.drop_behind(self._window.start, error)
        self.moved()

    def leave(self, follower: Follower) -> None:
        """A reader has gone or moved on."""
        self._readers.discard(follower)
        self._give_up_if_unwanted()
        self.moved()
        self._close_if_unused()

    def moved(self) -> None:
        """A follower's position has changed: what only it needed may go."""
        if not self._storing:
            self._trim()
            self._regulate()

    def _fail_beyond(self, position: int) -> None:
        """Fail who has had bytes from *position* on, from an earlier download."""
        error = TransferFailed(f"{self.digest}: the bytes that upstream sent at first were wrong")
        self._readers.fail_beyond(position, error)

    # -- batches

    async def _accept(self, batch: Batch) -> None:
        """Make hashed bytes visible."""
        if self._comparison is not None:
            difference = await self._comparison.difference(self.digested, batch.data)
            if difference is not None:
                self._fail_beyond(difference)
        if self.failure is not None:
            return
        if batch.error is not None and self._storing:
            self._go_on_unstored(batch.error)
            self._store_failed(batch.error)
        self.digested += len(batch.data)
        self.seen = batch.seen
        if self._storing:
            self.stored += len(batch.data)
        self._window.append(batch.data)
        if self._recorder.contradicted:
            self.fail(TransferFailed(f"{self.digest}: two downloads have different bytes"))
        self._give_up_if_unwanted()
        self._trim()
        self._regulate()
        self._readers.wake()

    def _rested(self, crashed: Failure | None) -> None:
        if crashed is not None:
            self._log.failure("hashing {digest} failed", crashed, digest=str(self.digest))
            self.fail(TransferCrashed())
        self._close_if_unused()
        if self._finished is not None:
            self._complete()

    def _complete(self) -> None:
        """Everything is hashed: judge it."""
        if self.size is not None and self.received < self.size:
            self._refuse(f"upstream sent {self.received} of the {self.size} bytes it announced")
        elif self.wrong is None and not self._recorder.verified():
            self._refuse(f"the bytes that upstream sent have the digest {self._recorder.actual()}")
        if self.wrong is None:
            self._fail_beyond(self.digested)
            self.verified = True
            self.size = self.received
            self._readers.check_length(self.size)
        self._end(verified=self.verified)

    def _refuse(self, reason: str) -> None:
        """The bytes are wrong: hold them back."""
        self.wrong = TransferFailed(f"{self.digest}: {reason}")

    def _end(self, *, verified: bool) -> None:
        """There is nothing more to be done with bytes."""
        if not verified:
            self._window.clear()
        if self._comparison is not None:
            self._comparison.close()
        self._watch_for_stall(False)
        self._readers.wake()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(verified)

    # -- without a store

    @property
    def _storing(self) -> bool:
        return self._file is not None and self.store_error is None

    def _go_on_unstored(self, error: Exception) -> None:
        self._recorder.storing = False
        self._pressure.set_marks(UNSTORED_WINDOW)
        self.store_error = error

    def _give_up_if_unwanted(self) -> None:
        if not (self._storing or self._readers or self._released):
            self.fail(Unwanted(f"{self.digest}: nobody reads it and it cannot be stored"))

    def _watch_for_stall(self, held_up: bool) -> None:
        if held_up and self._stall is None:
            self._stall = self._clock.callLater(STALL, self._drop_the_slowest)
        elif not held_up and self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _drop_the_slowest(self) -> None:
        """A slow client slows nobody: without a file, those who hold up the others are let go."""
        self._stall = None
        self._readers.drop_the_slowest()
        # Where nobody waits for more, the slow hold up no one but themselves: look again later.
        self.moved()

    # -- memory

    def _trim(self) -> None:
        """Drop what no follower needs from memory."""
        if self._storing:
            self._window.shrink(WINDOW)
        else:
            self._window.drop_before(self._readers.floor(self.digested))

    def _regulate(self) -> None:
        """Pause or resume the upstream."""
        waiting = self.received - self.digested
        if not self._storing:
            waiting += self._window.size
        self._pressure.update(waiting)
        held_up = self._pressure.registered and self._pressure.paused
        self._watch_for_stall(held_up and not self._storing)

    def _close_if_unused(self) -> None:
        if self._released and not self._readers and not self._batches.working:
            self._window.clear()
            file, self._file = self._file, None
            if file is not None:
                file.close()
