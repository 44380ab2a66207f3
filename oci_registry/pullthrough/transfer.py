"""One blob on its way, as the table of transfers and its readers see it."""

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
    """How many downloads there may be, and how often one is tried.

    *most*: downloads at once; each may hold some MiB of memory and a few open files. *named*: those
    among them that come from upstreams which clients have named. *attempts*: downloads of one blob
    until its bytes are right. *second_opinion*: seconds to wait for another host where the first
    announces another length than a manifest. *growing*: those of one download.
    """

    most: int = 512
    named: int = 256
    attempts: int = 4
    second_opinion: float = 5.0
    growing: GrowingLimits = Factory(GrowingLimits)


class Phase(Enum):
    """How far a transfer is. One whose bytes are wrong begins again with the first phase."""

    ASKING = "asking"
    """Upstream has not begun to send the blob."""
    RECEIVING = "receiving"
    """It is sending it."""
    VERIFYING = "verifying"
    """All bytes are there, and are being hashed."""
    COMMITTING = "committing"
    """The bytes are right, and are put into the store."""
    ENDED = "ended"
    """Nothing more will come of it."""


@frozen
class Wanted:
    """What a download is to bring.

    *hint*: the blob's length in bytes that a manifest states, if any; upstream may contradict it.
    *stored*: whether the blob is to be kept. *had*: what its only reader has had of it from elsewhere.
    """

    target: Target
    digest: Digest
    hint: int | None
    stored: bool = True
    had: Prefix | None = None


@define(eq=False)
class Transfer:
    """One blob on its way: what is wanted, how far it is, and its bytes, for any number of readers."""

    _log = Logger()

    wanted: Wanted
    phase: Phase = Phase.ASKING
    blob: GrowingBlob | None = None
    """The bytes of the latest attempt."""
    error: Exception | None = None
    """Why it has failed."""
    done: Deferred[None] | None = None
    _waiters: Waiters[GrowingBlob] = Factory(Waiters)

    @property
    def joinable(self) -> GrowingBlob | None:
        """The blob that newcomers read; None while they must wait for it."""
        return None if self.phase is Phase.ASKING else self.blob

    def can_be_joined(self, position: int) -> bool:
        """Whether a client that comes now would get everything from *position* on."""
        if self.joinable is not None:
            return self.joinable.can_follow(position)
        return self.error is None

    def opened(self) -> Deferred[GrowingBlob]:
        """Return a Deferred of the growing blob, once upstream has begun to send it.

        It fails with upstream's `RegistryError`. Cancelling it does not touch the transfer.
        """
        if self.joinable is not None:
            return succeed(self.joinable)
        if self.error is not None:
            return failed(self.error)
        return self._waiters.wait()

    def receive(self, blob: GrowingBlob) -> None:
        """Upstream has begun to send the blob: give it to those who wait."""
        self.phase, self.blob = Phase.RECEIVING, blob
        self._waiters.fire(blob)

    def fail(self, error: Exception) -> None:
        """It has failed: tell everybody who reads the blob or waits for it."""
        self.error = error
        if self.blob is not None:
            self.blob.fail(error)
        self._waiters.fail(error)

    def log(self, level: Any, text: str) -> None:
        """Log a sentence about it."""
        self._log.emit(
            level,
            "{digest} from {upstream}/{repository}: {text}",
            digest=str(self.wanted.digest),
            upstream=self.wanted.target.upstream.namespace,
            repository=self.wanted.target.repository,
            text=text,
        )
