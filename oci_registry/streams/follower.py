"""A reader of a growing blob."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from oci_registry.spec.digest import Prefix
from oci_registry.spec.errors import BadGateway, InternalError


class TransferFailed(BadGateway):
    """The blob cannot be completed: upstream failed, or its bytes were wrong."""


class TransferCrashed(TransferFailed, InternalError):
    """It failed by an internal error, which has been logged."""

    code, status = InternalError.code, InternalError.status

    def __init__(self) -> None:
        super().__init__("internal error of the mirror; see its log")


class LostPlace(TransferFailed):
    """The next bytes of one reader are no longer available here; the transfer itself may continue.

    *had*: the bytes that the reader has received, and maybe more; the blob must begin with the same
    bytes where the reader continues. None if it has received nothing. *cause*: the file's error, if
    that is the reason.
    """

    def __init__(self, had: Prefix | None, cause: Exception | None = None) -> None:
        reason = "" if cause is None else f": {cause}"
        super().__init__(f"the blob could not be kept for this client{reason}")
        self.had = had
        self.cause = cause


class WrongLength(TransferFailed):
    """The digest is right, but the length is not the one that was announced to this reader's client."""


class Followed(Protocol):
    """What a follower needs of the blob that it reads: a `growing.GrowingBlob`."""

    failure: Exception | None

    @property
    def verified(self) -> bool:
        """Whether all bytes have arrived, and the digest is right."""

    @property
    def seen(self) -> Prefix | None:
        """The digest and length of all bytes that any follower may have received."""

    def visible_to(self, announced: int | None) -> int:
        """How many bytes a follower may have by now whose client expects *announced* bytes in all."""

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes] | None:
        """Return visible bytes at *position*; None if they are no longer available."""

    def can_send(self, position: int) -> bool:
        """Whether `send_now` is likely to send visible bytes at *position*."""

    def send_now(self, socket: int, position: int, limit: int) -> int:
        """Send visible bytes at *position*, as `FileSource.send_now` does."""

    def unreadable(self, error: Exception) -> None:
        """Take note that the file could not be read."""

    def moved(self) -> None:
        """A follower's position has changed."""

    def leave(self, follower: Follower) -> None:
        """Take note that a follower has left."""


class Follower:
    """One reader of a growing blob: a `FileSource`. Not to be shared.

    *announced*: the length of the whole blob that was announced to its client, None if none was.
    *reads*: whether it reads its bytes, as far as is known, and does not send them from the file.
    """

    def __init__(self, blob: Followed, position: int, announced: int | None = None) -> None:
        self.position = position
        self.announced = announced
        self.reads = True
        self._start = position
        self._blob = blob
        self._waiting: Deferred[None] | None = None
        self._error: TransferFailed | None = None

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next visible bytes, or a Deferred of them; ``b""`` when the blob is complete.

        Raises `TransferFailed`, or fails with it, if the rest will not arrive: `LostPlace` if that
        applies to this reader only.
        """
        blob = self._blob
        self.reads = True
        if self._error is not None:
            raise self._error
        if blob.failure is not None:
            if isinstance(blob.failure, InternalError):
                raise TransferCrashed from blob.failure
            raise TransferFailed(str(blob.failure))
        visible = blob.visible_to(self.announced)
        if self.position < visible:
            data = blob.take(self.position, min(limit, visible - self.position))
            if data is None:
                self.drop()
                return self.read(limit)
            if isinstance(data, Deferred):
                how = (blob, limit)
                return data.addCallbacks(self._came, self._unreadable, how, errbackArgs=how)
            return self._advance(data)
        if blob.verified:
            return b""
        return self._wait().addCallback(lambda _: self.read(limit))

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        return waiting

    def _came(self, data: bytes, blob: Followed, limit: int) -> bytes | Deferred[bytes]:
        if self._error is not None:
            # It was set while they were read.
            return self.read(limit)
        if blob is not self._blob or self.position >= blob.visible_to(self.announced):
            # They have turned out to be wrong meanwhile, and will be replaced by others.
            return self.read(limit)
        if not data:
            blob.unreadable(EOFError("the growing file is shorter than what was written to it"))
            return self.read(limit)
        return self._advance(data)

    def _unreadable(
        self, failure: Failure, blob: Followed, limit: int
    ) -> Failure | bytes | Deferred[bytes]:
        if not isinstance(failure.value, Exception):
            return failure
        if blob is self._blob:
            blob.unreadable(failure.value)
        return self.read(limit)

    def _advance(self, data: bytes) -> bytes:
        self.position += len(data)
        self._blob.moved()
        return data

    def more(self) -> Deferred[None] | None:
        """Return a Deferred that fires at more bytes or the end; None if either is here already."""
        return None if self._has_news() else self._wait()

    def _has_news(self) -> bool:
        """Whether a read need not wait for bytes to become visible."""
        return (
            self._error is not None
            or self._blob.failure is not None
            or self._blob.verified
            or self.position < self._blob.visible_to(self.announced)
        )

    def _sendable(self) -> int:
        """Return how many bytes may be sent from the file, if they are in it."""
        if self._error is not None or self._blob.failure is not None:
            return 0
        return max(0, self._blob.visible_to(self.announced) - self.position)

    def can_send(self) -> bool:
        """Whether the next bytes can be sent from the file."""
        return self._sendable() > 0 and self._blob.can_send(self.position)

    def send_now(self, socket: int, limit: int) -> int:
        """Send visible bytes straight from the file, as `FileSource` says."""
        limit = min(limit, self._sendable())
        count = self._blob.send_now(socket, self.position, limit) if limit else 0
        if count:
            self.reads = False
            self.position += count
            self._blob.moved()
        return count

    @property
    def begun(self) -> bool:
        """Whether it has received any bytes."""
        return self.position > self._start

    @property
    def waiting(self) -> bool:
        """Whether it has received all visible bytes and waits for more."""
        return self._waiting is not None

    def wake(self) -> None:
        """Wake the reader: there are more bytes, or the end is reached."""
        if self._waiting is not None and self._has_news():
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def check_length(self, size: int) -> None:
        """Fail if the client expects another length than *size* bytes."""
        if self.announced not in (None, size):
            error = f"the blob has {size} bytes, not the {self.announced} that were announced"
            self.fail(WrongLength(error))

    def move(self, blob: Followed) -> None:
        """Continue with another blob, which fails this reader if its bytes up to here differ."""
        self._blob = blob

    def drop(self, cause: Exception | None = None) -> None:
        """Refuse all further reads, since the next bytes are no longer available."""
        self.fail(LostPlace(self._blob.seen if self.begun else None, cause))

    def fail(self, error: TransferFailed) -> None:
        """Refuse all further reads with *error*."""
        self._error = error
        self._blob.leave(self)
        self.wake()

    def close(self) -> None:
        """Stop following. Idempotent."""
        self._waiting = None
        self._blob.leave(self)
