"""Send a file to a socket without reading it: the kernel copies from the page cache (sendfile)."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure

from oci_registry.streams.interfaces import (
    FileConsumer,
    FilePart,
    FileSource,
    Source,
    as_file,
    as_shared,
    as_socket,
)
from oci_registry.streams.send import Sender

PIECE = 1024 * 1024
"""The most bytes that are sent at once: others wait for some 200 microseconds, no longer."""


class FileSender(Sender):
    """Sends *count* bytes as `Sender` does, but from the file directly if they need no reading.

    Bytes that are not in the page cache, or not available now, are read: waiting, failures and
    fallbacks happen in `Sender`, from the current position. So nothing is sent, not even headers,
    before the first bytes are available.
    """

    def __init__(self, source: FileSource, consumer: IConsumer, count: int) -> None:
        super().__init__(source, consumer, count)
        self._file = source
        self._socket: FileConsumer | None = as_socket(consumer)
        self._left: int = count
        self._sending = False
        self._read_next = False

    def resumeProducing(self) -> None:
        """The consumer's buffer is empty, which only matters for bytes that are read."""
        if not self._sending:
            super().resumeProducing()

    def _send_next(self) -> None:
        if self._socket is None or self._read_next:
            self._read_next = False
            super()._send_next()
            return
        more = self._file.more()
        if more is not None:
            self._wait(more)
        elif not self._file.can_send():
            super()._send_next()
        elif self._socket.write_from(self):
            # Until the socket takes more.
            self._sending = self.paused = True
        else:
            self._socket = None

    def _wait(self, more: Deferred[None]) -> None:
        self._reading = more
        more.addCallbacks(self._go_on, self._failed)

    def _go_on(self, _: None) -> None:
        self._reading = None
        self._pump()

    def write_now(self, socket: int) -> None:
        """Write to the socket, which is ready."""
        try:
            count = self._file.send_now(socket, min(PIECE, self._left))
        except BlockingIOError:
            return
        except Exception:
            self._end(Failure())
            return
        if count:
            self._count(count)
        more = self._file.more() if self._left else None
        if count and self._left and more is None:
            return
        self._stop_sending()
        if more is not None:
            self._wait(more)
        else:
            self._read_next = not count
            self._pump()

    def part(self) -> FilePart | None:
        """Return what is left to send, as `SharedWriter` says."""
        shared = as_shared(self._file)
        part = None if shared is None else shared.part()
        return None if part is None else evolve(part, length=min(part.length, self._left))

    def wrote_elsewhere(self, count: int) -> None:
        """Another process has sent the next bytes."""
        shared = as_shared(self._file)
        if shared is not None:
            shared.advance(count)
        self._count(count)
        if self._left and self.part() is None:
            # The file must not be sent any more.
            self.ended_elsewhere()

    def ended_elsewhere(self) -> None:
        """Another process has sent what needed no reading."""
        self._stop_sending()
        self._read_next = bool(self._left)
        self._pump()

    def _count(self, count: int) -> None:
        self.sent += count
        self._left -= count
        if self._socket is not None:
            self._socket.wrote(count)

    def _stop_sending(self) -> None:
        if self._sending and self._socket is not None:
            self._sending = self.paused = False
            self._socket.write_from(None)

    def _end(self, failure: Failure | None) -> None:
        self._stop_sending()
        super()._end(failure)


def sender_for(source: Source, consumer: IConsumer, count: int | None) -> Sender:
    """Return the sender for a source: one that sends files where the source may be one."""
    file = None if count is None else as_file(source)
    if file is None or count is None:
        return Sender(source, consumer, count)
    return FileSender(file, consumer, count)
