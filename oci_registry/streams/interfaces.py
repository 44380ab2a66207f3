"""What the streams room asks of the files and bodies it is given."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class FileSource(Source, Protocol):
    """A source that may send bytes straight from a file to a socket."""

    def send_now(self, socket: int, limit: int) -> int | None:
        """Send the next bytes, at most *limit*, to a non-blocking socket; return how many.

        Returns 0 if the next bytes must be read instead (errors are those of `read`), and None if all
        further ones must. Raises BlockingIOError while the socket takes nothing. Never waits.
        """


class SocketWriter(Protocol):
    """Writes to a socket itself, as often as that takes something."""

    def write_now(self, socket: int) -> None:
        """Write to the socket, which is ready; once, so that others have their turn. Never raises."""


@runtime_checkable
class FileConsumer(Protocol):
    """A consumer in front of a socket, to which others may write themselves."""

    def write_from(self, writer: SocketWriter | None) -> bool:
        """Have *writer* write, after all that was written before, until this is called with None.

        Returns False, and does nothing, where that is not possible (now).
        """

    def wrote(self, count: int) -> None:
        """Take note that the writer has written so many bytes."""
