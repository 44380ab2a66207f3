"""A blob that is being downloaded by one transfer and followed by any number of readers.

The writing side is an `IConsumer`: the upstream body is written into it, in batches handed to a thread
that hashes and appends them, and the upstream is paused while too much is waiting. The reading side
hands out followers, each at its own position. Their bytes are sent from the file; if they have to be
read, recent ones come from memory.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.spec.digest import Digest, Prefix
from oci_registry.streams.appending import RecordInTime
from oci_registry.streams.batches import Batches
from oci_registry.streams.byte_log import ByteLog
from oci_registry.streams.follower import Follower, TransferCrashed, TransferFailed
from oci_registry.streams.interfaces import GrowingFile
from oci_registry.streams.limits import GrowingLimits
from oci_registry.streams.pressure import BackPressure
from oci_registry.streams.readers import Readers
from oci_registry.streams.recorder import Batch, Recorder
from oci_registry.streams.takeover import Takeover
from oci_registry.streams.threads import RunInThread


class Unwanted(TransferFailed):
    """Nobody reads the blob any more, and it cannot be stored, so the download is of no use."""


def _ignore(_: Exception) -> None:
    """Do nothing about an error."""


@implementer(IConsumer)
class GrowingBlob:
    """The bytes of a download, from the first one to the commit.

    *size* is the length that upstream announced, in bytes, or None: the digest decides then. *file*
    is where they are stored; if appending fails or hangs, *store_failed* is called with the reason, and
    the download continues in memory alone, at the pace of its followers. *had*: what its only reader
    has received from elsewhere; the blob fails if it begins with other bytes. Bytes become visible to
    followers when they are hashed; the last ones (`GrowingLimits.tail`) only when the whole is verified
    (`finish`).
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
        limits: GrowingLimits = GrowingLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.digest = expected
        self.bytes = ByteLog(size, file, limits)
        self.failure: Exception | None = None
        self.successor: GrowingBlob | None = None
        """The blob that replaces this one, whose bytes were wrong."""
        self._recorder = Recorder(expected, file, had)
        self._batches = Batches(
            RecordInTime(self._recorder, run, clock, limits.append),
            clock,
            self._accept,
            self._rested,
            limits.batch,
        )
        self._store_failed = store_failed
        self._readers = Readers(clock, limits.stall)
        self._pressure = BackPressure(self.bytes.most_waiting)
        self._finished: Deferred[bool] | None = None
        self._released = False
        self._withdrawn = False
        self._takeover: Takeover | None = None

    @property
    def size(self) -> int | None:
        """The length that upstream has announced, or after the end, the actual length."""
        return self.bytes.size

    @property
    def received(self) -> int:
        """How many bytes have arrived."""
        return self.bytes.received

    @property
    def seen(self) -> Prefix | None:
        """The digest and length of all bytes that any follower may have received."""
        return self.bytes.seen

    @property
    def verified(self) -> bool:
        """Whether all bytes have arrived, and the digest is right."""
        return self.bytes.verified

    @property
    def wrong(self) -> Exception | None:
        """What is wrong with the bytes; followers wait, for another download or for `fail`."""
        return self.bytes.wrong

    @property
    def store_error(self) -> Exception | None:
        """Why the bytes are not stored any more, if they are not."""
        return self.bytes.store_error

    @property
    def being_stored(self) -> bool:
        """Whether the bytes are written to the store, as far as is known."""
        return self._recorder.storing

    # -- the writing side

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the push producer of the upstream's body, which is paused and resumed as needed."""
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
        announced = self.bytes.receive(data)
        if announced:
            self._batches.add(announced)
        self._regulate()
        if len(announced) < len(data):
            self._refuse(f"upstream sent more than the {self.size} bytes it announced")
            self._pressure.stop()

    def finish(self) -> Deferred[bool]:
        """Upstream has sent its last byte: return whether the digest is right.

        Fires when everything is hashed. If the digest is right, the tail is visible; if not, `wrong`
        says why, or `failure` if the blob has failed otherwise.
        """
        if self.failure is not None:
            return succeed(False)
        finished = self._finished = Deferred()
        self._batches.end()
        return finished

    def fail(self, reason: Exception) -> None:
        """Stop upstream, and fail every follower, now or at its next read. Idempotent."""
        if self.failure is not None or self.verified:
            return
        self.failure = reason
        self._batches.stop()
        self._end(verified=False)
        self._pressure.stop()

    def withdraw(self, error: TransferFailed) -> None:
        """The stored bytes have become corrupt: fail every follower, and accept no new ones."""
        self._withdrawn = True
        self._readers.fail_all(error)

    def release(self) -> None:
        """The transfer has ended: close the file as soon as the last follower has left."""
        self._released = True
        self._close_if_unused()

    def take_over(self, earlier: GrowingBlob) -> None:
        """Replace *earlier*, whose bytes were wrong, and take over its readers; it is released.

        A reader waits until the bytes that it has received have arrived here too, and fails if they differ.
        """
        earlier.successor = self
        self._readers.take_over(earlier._readers, self)
        if self.size is not None:
            self._readers.check_length(self.size)
        self._takeover = Takeover(self.digest, self._readers, earlier.bytes, earlier.release)

    # -- the reading side

    def follow(self, position: int = 0, announced: int | None = None) -> Follower:
        """Return a new reader that starts at *position*.

        *announced*: how many bytes its client expects the whole to have, if that is not `size`. The
        reader fails with `WrongLength`, before its client has had the tail of them, if the actual
        length is another.
        """
        if self.successor is not None:
            return self.successor.follow(position, announced)
        follower = Follower(self, position, self.size if announced is None else announced)
        self._readers.add(follower)
        if self.size is not None:
            follower.check_length(self.size)
        return follower

    def can_follow(self, position: int) -> bool:
        """Whether a new reader would get all bytes from *position* on."""
        if self._withdrawn or self.failure is not None or self.wrong is not None:
            return False
        return self.bytes.can_follow(position)

    @property
    def followers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    @property
    def visible(self) -> int:
        """How many bytes followers may have by now."""
        return self.bytes.visible_to(None)

    def visible_to(self, announced: int | None) -> int:
        """How many bytes a follower may have by now whose client expects *announced* bytes in all."""
        return self.bytes.visible_to(announced)

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes] | None:
        """Return visible bytes at *position*, which must be below `visible`.

        None if they are no longer available.
        """
        return self.bytes.take(position, limit)

    def can_send(self, position: int) -> bool:
        """Whether visible bytes at *position* can be sent from the file."""
        return self.bytes.can_send(position)

    def send_now(self, socket: int, position: int, limit: int) -> int:
        """Send visible bytes at *position* from the file, as `FileSource.send_now` does."""
        return self.bytes.send_now(socket, position, limit)

    def unreadable(self, error: Exception) -> None:
        """Stop using the file, which could not be read. A reader that needs it fails with `LostPlace`."""
        self.bytes.lose_file()
        if not self.verified:
            self._go_on_unstored(error)
        self._readers.drop_behind(self.bytes.start, error)
        self.moved()

    def leave(self, follower: Follower) -> None:
        """Take note that a reader has left."""
        self._readers.discard(follower)
        self._give_up_if_unwanted()
        self.moved()
        self._close_if_unused()

    def moved(self) -> None:
        """Take note of a follower's new position: bytes that nobody needs any more are dropped."""
        if not self.bytes.storing:
            self._trim()
            self._regulate()

    # -- batches

    async def _accept(self, batch: Batch) -> None:
        """Make hashed bytes visible."""
        if self._takeover is not None:
            position = self.bytes.digested
            for piece in batch.pieces:
                await self._takeover.compare(position, piece)
                position += len(piece)
        if self.failure is not None:
            return
        if batch.error is not None and self.bytes.storing:
            self._go_on_unstored(batch.error)
            self._store_failed(batch.error)
        self.bytes.add(batch)
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
        """Everything is hashed: compare the digest and the length."""
        if self.size is not None and self.received < self.size:
            self._refuse(f"upstream sent {self.received} of the {self.size} bytes it announced")
        elif self.wrong is None and not self._recorder.verified():
            self._refuse(f"the bytes that upstream sent have the digest {self._recorder.actual()}")
        if self.wrong is None:
            if self._takeover is not None:
                self._takeover.fail_beyond(self.bytes.digested)
            self.bytes.verify()
            self._readers.check_length(self.received)
        self._end(verified=self.verified)

    def _refuse(self, reason: str) -> None:
        """The bytes are wrong: make no more of them visible."""
        self.bytes.wrong = TransferFailed(f"{self.digest}: {reason}")

    def _end(self, *, verified: bool) -> None:
        """Stop processing bytes."""
        if not verified:
            self.bytes.clear()
        if self._takeover is not None:
            self._takeover.close()
        self._readers.watch_for_stall(False)
        self._readers.wake()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(verified)

    # -- without a store

    def _go_on_unstored(self, error: Exception) -> None:
        self._recorder.storing = False
        self.bytes.store_error = error
        self._pressure.set_marks(self.bytes.most_waiting)

    def _give_up_if_unwanted(self) -> None:
        if not (self.bytes.storing or self._readers or self._released):
            self.fail(Unwanted(f"{self.digest}: no client reads it and it cannot be stored"))

    # -- memory

    def _trim(self) -> None:
        """Drop what no follower needs from memory."""
        if self.bytes.storing:
            self.bytes.shrink(read=self._readers.read)
        else:
            self.bytes.drop_before(self._readers.floor(self.bytes.digested))

    def _regulate(self) -> None:
        """Pause or resume the upstream."""
        self._pressure.update(self.bytes.waiting)
        held_up = self._pressure.registered and self._pressure.paused
        self._readers.watch_for_stall(held_up and not self.bytes.storing)

    def _close_if_unused(self) -> None:
        if self._released and not self._readers and not self._batches.working:
            self.bytes.close()
            self._batches.close()
