"""The state of one transfer, for the table of transfers and for readers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import fail as failed
from twisted.logger import Logger

from oci_registry.spec.digest import Digest, Prefix
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.limits import GrowingLimits
from oci_registry.streams.waiters import Waiters
from oci_registry.upstream.table import Target


@frozen
class TransferLimits:
    """How many downloads may run, and how often one is attempted.

    *most*: downloads at the same time; each may take some MiB of memory and a few open files. An upstream
    gets another one only if it has no more than three times as many as are left for all. *named*:
    the part of them that may come from upstreams that clients have named. *attempts*: downloads of one
    blob until its bytes are right. *second_opinion*: seconds to wait for another host if the first
    announces another size than the manifest. *growing*: the limits of one
    download.
    """

    most: int = 512
    named: int = 256
    attempts: int = 4
    second_opinion: float = 5.0
    growing: GrowingLimits = Factory(GrowingLimits)


class Phase(Enum):
    """The phase of a transfer; after wrong bytes it starts again with the first one."""

    ASKING = "asking"
    """Upstream has not begun to send the blob."""
    RECEIVING = "receiving"
    """Upstream is sending it."""
    VERIFYING = "verifying"
    """All bytes have been received, and are being hashed."""
    COMMITTING = "committing"
    """The digest is right, and the blob is being stored."""
    ENDED = "ended"
    """It has succeeded or failed."""


@frozen
class Wanted:
    """The blob to download, and how.

    *hint*: the size in bytes that a manifest states, if any; upstream may contradict it. *stored*:
    whether the blob is to be stored. *had*: what the only reader has received from another transfer.
    *ahead*: no client has requested it yet.
    """

    target: Target
    digest: Digest
    hint: int | None
    stored: bool = True
    had: Prefix | None = None
    ahead: bool = False


@define(eq=False)
class Transfer:
    """One download: what is wanted, its phase, and the bytes for any number of readers."""

    _log = Logger()

    wanted: Wanted
    phase: Phase = Phase.ASKING
    blob: GrowingBlob | None = None
    """The bytes of the latest attempt."""
    error: Exception | None = None
    """Why it has failed, if it has."""
    done: Deferred[None] | None = None
    began: float = 0.0
    """When it was started, in seconds since the epoch."""
    clients: int = 0
    """How many clients it serves, or has served."""
    not_stored: str = "another download stores it"
    """Why the blob is not in the store, if the download succeeds and it is not."""
    stored: bool = False
    """Whether it has stored the blob."""
    _waiters: Waiters[GrowingBlob] = Factory(Waiters)
    _ending: Waiters[None] = Factory(Waiters)

    @property
    def why_not_stored(self) -> str:
        """Why the blob is not stored: the store has failed, or `not_stored`."""
        failed = None if self.blob is None else self.blob.store_error
        return self.not_stored if failed is None else str(failed)

    @property
    def joinable(self) -> GrowingBlob | None:
        """The blob that new readers get; None while they must wait for it."""
        return None if self.phase is Phase.ASKING else self.blob

    def can_be_joined(self, position: int) -> bool:
        """Whether a new reader would get all bytes from *position* on."""
        if self.joinable is not None:
            return self.joinable.can_follow(position)
        return self.error is None

    def opened(self) -> Deferred[GrowingBlob]:
        """Return a Deferred of the growing blob, once upstream has begun to send it.

        It fails with upstream's `RegistryError`. Cancelling it does not cancel the transfer.
        """
        if self.joinable is not None:
            return succeed(self.joinable)
        if self.error is not None:
            return failed(self.error)
        return self._waiters.wait()

    def ended(self) -> Deferred[None]:
        """Return a Deferred that fires when a running transfer has ended and cleaned up.

        Cancelling it does not cancel the transfer.
        """
        return self._ending.wait()

    def end(self) -> None:
        """Mark the transfer as ended, and wake everything that waits for its end."""
        self._ending.fire(None)

    def receive(self, blob: GrowingBlob) -> None:
        """Upstream has begun to send the blob: give it to all waiting readers."""
        self.phase, self.blob = Phase.RECEIVING, blob
        self._waiters.fire(blob)

    def fail(self, error: Exception) -> None:
        """Fail with *error*, for all readers and for all that wait."""
        self.error = error
        if self.blob is not None:
            self.blob.fail(error)
        self._waiters.fail(error)

    def log(self, level: Any, text: str) -> None:
        """Log *text* with the digest and the upstream."""
        self._log.emit(
            level,
            "{digest} from {upstream}/{repository}: {text}",
            digest=str(self.wanted.digest),
            upstream=self.wanted.target.upstream.namespace,
            repository=self.wanted.target.repository,
            text=text,
        )
