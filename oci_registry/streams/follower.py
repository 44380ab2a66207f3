"""A reader of a growing blob."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from oci_registry.spec.errors import BadGateway


class TransferFailed(BadGateway):
    """The blob cannot be completed: upstream failed, or its bytes were wrong."""


class Followed(Protocol):
    """What a follower asks of the blob that it reads: a `growing.GrowingBlob`."""

    failure: Exception | None
    verified: bool

    @property
    def visible(self) -> int:
        """How many bytes followers may have by now."""

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes]:
        """Return visible bytes at *position*."""

    def moved(self) -> None:
        """A follower's position has changed."""

    def leave(self, follower: Follower) -> None:
        """A follower has gone."""


class Follower:
    """One reader of a growing blob: a `Source`. Not to be shared."""

    def __init__(self, blob: Followed, position: int) -> None:
        self.position = position
        self._blob = blob
        self._waiting: Deferred[None] | None = None
        self._dropped = False

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next visible bytes, or a Deferred of them; ``b""`` when the blob is complete.

        Raises `TransferFailed`, or fails with it, when the rest will not come.
        """
        blob = self._blob
        if self._dropped:
            raise TransferFailed("the reader fell behind while the blob could not be stored")
        if blob.failure is not None:
            raise TransferFailed(str(blob.failure))
        if self.position < blob.visible:
            data = blob.take(self.position, limit)
            if isinstance(data, Deferred):
                return data.addCallbacks(self._advance, self._unreadable)
            return self._advance(data)
        if blob.verified:
            return b""
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        return waiting.addCallback(lambda _: self.read(limit))

    def _advance(self, data: bytes) -> bytes:
        if not data:
            raise TransferFailed("the growing file is shorter than what was written to it")
        self.position += len(data)
        self._blob.moved()
        return data

    def _unreadable(self, failure: Failure) -> bytes:
        raise TransferFailed(f"the growing file cannot be read: {failure.getErrorMessage()}")

    @property
    def waiting(self) -> bool:
        """Whether it has all there is so far and waits for more."""
        return self._waiting is not None

    def wake(self) -> None:
        """There is more, or there will be no more."""
        if self._waiting is not None and (
            self._dropped
            or self._blob.failure is not None
            or self._blob.verified
            or self.position < self._blob.visible
        ):
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def drop(self) -> None:
        """Refuse all further reads."""
        self._dropped = True
        self._blob.leave(self)
        self.wake()

    def close(self) -> None:
        """Stop following. Idempotent."""
        self._waiting = None
        self._blob.leave(self)
