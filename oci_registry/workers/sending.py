"""Parts of files that a worker sends on connections of the core."""

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
"""The fewest bytes for which another process is worth its messages."""
PROGRESS = 1.0
"""Seconds after which the core knows what has been sent."""


def pack_part(number: int, offset: int, length: int) -> bytes:
    """Return the message that has a worker send; socket and file come with it."""
    return pack("send", number=number, offset=offset, length=length)


@implementer(IWriteDescriptor)
class PartSender:
    """Sends a part of a file to a socket, as far as it is in the page cache, and closes its descriptors.

    *report* gets the number of bytes since the last report, and whether it was the last one: all has been
    sent, or the next bytes must be read, or the client has left, which the core finds out by itself.
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
        """The socket takes something."""
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
        """Send no more, and report nothing. Idempotent."""
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
