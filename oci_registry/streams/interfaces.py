"""The interfaces of files and bodies that this package uses."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

from attrs import frozen
from twisted.internet.defer import Deferred


class GrowingFile(Protocol):
    """A file that one writer appends to and many readers read anywhere."""

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

    def can_send(self, offset: int) -> bool:
        """Whether `send_now` is likely to send something from *offset* on. Never waits or raises."""

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Send bytes that were appended from the file to a socket, as `FileSource.send_now` does."""

    def close(self) -> None:
        """Release the file's resources; a committed object stays. Idempotent."""


class Source(Protocol):
    """Bytes of an object in order, from the reader's position."""

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*, at once if they are in memory; ``b""`` at the end.

        Raises, or fails with, an exception if the rest is not available. Only one read at a time.
        """

    def close(self) -> None:
        """Release the resources of the source. Idempotent; a running read is cancelled."""


@runtime_checkable
class FileSource(Source, Protocol):
    """A source that may send bytes straight from a file to a socket. None of this waits."""

    def more(self) -> Deferred[None] | None:
        """Return None if the next bytes are available, else a Deferred that fires when they may be.

        None also if there are no more, or if they are not available: `read` says why. The Deferred does not
        fail; it may never fire if the source is closed. Only one at a time, and no read meanwhile.
        """

    def can_send(self) -> bool:
        """Whether `send_now` is likely to send the next bytes; if not, they must be read."""

    def send_now(self, socket: int, limit: int) -> int:
        """Send the next bytes, at most *limit*, to a non-blocking socket; return how many.

        Returns 0 if they must be read instead; errors are those of `read`. Raises BlockingIOError while
        the socket takes nothing.
        """


def as_file(source: Source) -> FileSource | None:
    """Return a source as one that may send from a file; None if it is none.

    isinstance() with these protocols takes longer than everything else about sending a small range.
    """
    return cast(FileSource, source) if hasattr(source, "send_now") else None


@frozen
class FilePart:
    """*length* bytes at *offset* of an open file."""

    descriptor: int
    offset: int
    length: int


class SharedSource(Protocol):
    """A source whose bytes another process may send."""

    def part(self) -> FilePart | None:
        """Return where all further bytes are; None if they must be sent or read here."""

    def advance(self, count: int) -> None:
        """Take note that another process has sent the next bytes."""


def as_shared(source: object) -> SharedSource | None:
    """Return a source as one that another process may send; None if it is none."""
    return cast(SharedSource, source) if hasattr(source, "advance") else None


class SocketWriter(Protocol):
    """Writes to a socket itself, as often as that takes something."""

    def write_now(self, socket: int) -> None:
        """Write to the socket, which is ready; once, so that others get their turn. Never raises."""


class SharedWriter(SocketWriter, Protocol):
    """A writer whose work another process may do."""

    def part(self) -> FilePart | None:
        """Return what is left to write; None if it must be written here."""

    def wrote_elsewhere(self, count: int) -> None:
        """Take note that another process has written the next bytes."""

    def ended_elsewhere(self) -> None:
        """Go on here: the other process has written all, or cannot write the next bytes."""


@runtime_checkable
class FileConsumer(Protocol):
    """A consumer in front of a socket, to which others may write themselves."""

    def write_from(self, writer: SocketWriter | None) -> bool:
        """Let *writer* write, after everything that was written before, until this is called with None.

        The headers are written first. Returns False if others cannot write.
        """

    def wrote(self, count: int) -> None:
        """Take note that the writer has written so many bytes."""


def as_socket(consumer: object) -> FileConsumer | None:
    """Return a consumer as one in front of a socket; None if it is none."""
    return cast(FileConsumer, consumer) if hasattr(consumer, "write_from") else None
