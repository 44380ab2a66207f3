"""Sends parts of files on connections of the core, in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.storage.drivers import page_cache
from oci_registry.streams.sendfile import PIECE
from oci_registry.workers.messages import Message, pack
from oci_registry.workers.packets import close_all

LEAST = 4 * 1024 * 1024
"""The minimum number of bytes for which sending by another process is worth its messages."""
PROGRESS = 1.0
"""Seconds between two reports to the core about sent bytes."""


def pack_part(number: int, offset: int, length: int) -> bytes:
    """Return the message that makes a worker send a part; socket and file are sent with it."""
    return pack("send", number=number, offset=offset, length=length)


@implementer(IWriteDescriptor)
class PartSender:
    """Sends the cached bytes of a file part to a socket, and then closes both descriptors.

    *report* gets the number of bytes since the last report, and whether it was the last one: everything
    has been sent, or the next bytes must be read, or the client has left, which the core detects
    itself.
    """

    def __init__(
        self,
        socket: int,
        file: int,
        message: Message,
        report: Callable[[int, bool], None],
        reactor: Any,
    ) -> None:
        self._socket = socket
        self._file = file
        self._offset = int(message.fields["offset"])
        self._left = int(message.fields["length"])
        self._report = report
        self._reactor = reactor
        self._unreported = 0
        self._due: IDelayedCall | None = None
        self._ended = False
        reactor.addWriter(self)

    def fileno(self) -> int:
        """Return the descriptor of the socket, -1 when closed."""
        return -1 if self._ended else self._socket

    def logPrefix(self) -> str:
        """Return how the reactor calls this in its log."""
        return "sending"

    def doWrite(self) -> None:
        """Write to the socket, which is writable."""
        if self._ended:
            return
        wanted = min(self._left, PIECE)
        count = page_cache.resident(self._file, self._offset, wanted)
        try:
            count = os.sendfile(self._socket, self._file, self._offset, count) if count else 0
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._offset += count
        self._left -= count
        self._unreported += count
        if not count or not self._left:
            self._end()
        elif self._due is None:
            self._due = self._reactor.callLater(PROGRESS, self._show_progress)

    def _show_progress(self) -> None:
        self._due = None
        count, self._unreported = self._unreported, 0
        self._report(count, False)

    def _end(self) -> None:
        if not self._ended:
            self.stop()
            self._report(self._unreported, True)

    def end(self) -> None:
        """Send no more, and report what was sent. Idempotent."""
        self._end()

    def stop(self) -> None:
        """Stop sending, without a report. Idempotent."""
        if self._ended:
            return
        self._reactor.removeWriter(self)
        self._ended = True
        if self._due is not None:
            self._due.cancel()
        close_all((self._socket, self._file))

    def connectionLost(self, reason: Failure) -> None:
        """The connection is broken."""
        self._end()
