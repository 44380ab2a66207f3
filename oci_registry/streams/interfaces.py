"""What the streams room asks of the files and bodies it is given."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred


class GrowingFile(Protocol):
    """A file that is written at its end by one and read anywhere by many."""

    def append(self, data: bytes) -> None:
        """Write *data* at the end; blocks, so call it in a thread. Raises OSError."""

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> Exception:
        """Take note that an append has not returned for so many seconds; return the error to report.

        Nothing more is appended. *returned* fires when the append does return.
        """

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read up to *length* bytes, off the reactor; what was appended before can be read."""

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Return the same as `read` if that needs no waiting; else None. Never raises."""

    def close(self) -> None:
        """Give the file's resources back; what was committed stays. Idempotent."""


class Source(Protocol):
    """Bytes of an object in order, from where the reader stands."""

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*, at once when they are at hand; ``b""`` at the end.

        Raises, or fails with, an exception when the rest cannot be had. Only one read at a time.
        """

    def close(self) -> None:
        """Release the resources of the source. Idempotent; a running read is cancelled."""
