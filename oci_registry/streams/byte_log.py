"""Which bytes of a growing blob are available, and where: in memory, in the file, or dropped."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Prefix
from oci_registry.streams.interfaces import GrowingFile
from oci_registry.streams.limits import GrowingLimits
from oci_registry.streams.recorder import Batch
from oci_registry.streams.window import Window

JOINED = 256 * 1024
"""Bytes up to which small pieces in memory are joined."""


class ByteLog:
    """The bytes of one download, from their arrival to the last read.

    *size* is the announced length, or None; once the bytes are verified it is the true one. *file* is
    where a `Recorder` appends them, or None. All counts are in bytes from the beginning.
    """

    def __init__(self, size: int | None, file: GrowingFile | None, limits: GrowingLimits) -> None:
        self.size = size
        self.received = 0
        """How many bytes have arrived."""
        self.digested = 0
        """How many bytes are hashed."""
        self.stored = 0
        """How many of the hashed bytes can be read from the file."""
        self.seen: Prefix | None = None
        """The digest and length of all hashed bytes."""
        self.verified = False
        """Whether the digest is right: the tail is visible too."""
        self.wrong: Exception | None = None
        """Why the bytes are wrong, once that is known: none is visible any more."""
        self.store_error: Exception | None = None
        """Why bytes are no longer stored."""
        self.file = file
        self._limits = limits
        self._window = Window(min(limits.batch, JOINED))

    @property
    def storing(self) -> bool:
        """Whether all hashed bytes are in the file too."""
        return self.file is not None and self.store_error is None

    @property
    def start(self) -> int:
        """The position of the first byte in memory."""
        return self._window.start

    @property
    def waiting(self) -> int:
        """How many bytes wait for the thread, and also for the followers if they are not stored."""
        waiting = self.received - self.digested
        return waiting if self.storing else waiting + self._window.size

    @property
    def most_waiting(self) -> int:
        """How many bytes may wait before upstream is paused."""
        return self._limits.high_water if self.storing else self._limits.unstored_window

    def receive(self, data: bytes) -> bytes:
        """Count bytes that have arrived; return them without those beyond the announced length."""
        self.received += len(data)
        if self.size is None or self.received <= self.size:
            return data
        return data[: max(0, len(data) - (self.received - self.size))]

    def add(self, batch: Batch) -> None:
        """Take bytes that have been hashed, and stored as long as `storing` is true."""
        self.digested += batch.length
        self.seen = batch.seen
        if self.storing:
            self.stored += batch.length
        for piece in batch.pieces:
            self._window.append(piece)

    def verify(self) -> None:
        """Record that all bytes have arrived and the digest is right."""
        self.verified = True
        self.size = self.received

    def visible_to(self, announced: int | None) -> int:
        """How many bytes a follower may have by now whose client expects *announced* bytes in all."""
        if self.verified:
            return self.digested
        if self.wrong is not None:
            return 0
        if self.size is not None:
            return max(0, min(self.digested, self.size - self._limits.tail))
        end = self.digested if announced is None else min(self.digested, announced)
        return max(0, end - self._limits.tail)

    def take(self, position: int, limit: int) -> bytes | Deferred[bytes] | None:
        """Return visible bytes at *position*, which must be below what is visible to anyone.

        None if they are no longer available.
        """
        available = min(limit, self.visible_to(None) - position)
        recent = self._window.get(position, available)
        if recent is None and self.file is not None and position < self.stored:
            available = min(available, self.stored - position)
            at_hand = self.file.read_now(position, available)
            return self.file.read(position, available) if at_hand is None else at_hand
        return recent

    def can_send(self, position: int) -> bool:
        """Whether bytes at *position* are likely to be sent from the file without waiting."""
        return self.file is not None and position < self.stored and self.file.can_send(position)

    def send_now(self, socket: int, position: int, limit: int) -> int:
        """Send at most *limit* bytes at *position* from the file, all of which must be visible."""
        if self.file is None or position >= self.stored:
            return 0
        return self.file.send_now(socket, position, min(limit, self.stored - position))

    def can_follow(self, position: int) -> bool:
        """Whether all bytes from *position* on are available, or will arrive."""
        return position >= self.start or (position < self.stored and self.start <= self.stored)

    def lose_file(self) -> None:
        """Stop using the file, since it cannot be read."""
        self.stored = 0

    def shrink(self, *, read: bool) -> None:
        """Keep only the most recent bytes in memory, if they are *read*; the others are in the file."""
        self._window.shrink(self._limits.window if read else 0)

    def drop_before(self, position: int) -> None:
        """Drop the bytes before *position* from memory."""
        self._window.drop_before(position)

    def clear(self) -> None:
        """Keep nothing in memory."""
        self._window.clear()

    def close(self) -> None:
        """Free the memory and close the file, when there are no more readers. Idempotent."""
        self.clear()
        file, self.file = self.file, None
        if file is not None:
            file.close()
