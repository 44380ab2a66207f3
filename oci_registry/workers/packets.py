"""Messages and file descriptors over a UNIX socket that preserves message boundaries, on the reactor."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.workers.messages import MAX_MESSAGE, Message, unpack

AT_ONCE = 32
"""The maximum number of messages that are received in one iteration of the reactor."""
RETRY = 0.01
"""Seconds until the next attempt if the kernel accepts no further descriptors."""
_BUFFER = 4 * MAX_MESSAGE
_FULL = frozenset((EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS))

MOST_DESCRIPTORS = 2
"""The maximum number of descriptors that come with a message."""

Received = Callable[[Message, Sequence[int]], None]
"""Takes a message and its descriptors, which it must close."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a private connection for messages."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return ends


def receive(connection: socket.socket) -> tuple[bytes, Sequence[int]]:
    """Receive a message and its descriptors; nothing at the end. Raises OSError."""
    numbers = array.array("i")
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * numbers.itemsize)
    data, ancillary, _flags, _ = connection.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, numbers.tolist()


def send(connection: socket.socket, data: bytes, *descriptors: int) -> None:
    """Send a message and descriptors, which stay open here. Raises OSError."""
    if not descriptors:
        connection.send(data)
        return
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    connection.sendmsg([data], [rights])


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors, if they still are open."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _duplicates(descriptors: Iterable[int]) -> Sequence[int]:
    """Duplicate descriptors; none of them if there are too many open files.

    The other end gets the message without them then, as it does if it has too many open files itself.
    """
    found: list[int] = []
    try:
        # What precedes an error is in the list.
        found.extend(map(os.dup, descriptors))
    except OSError:
        close_all(found)
        return ()
    return found


@implementer(IReadDescriptor, IWriteDescriptor)
class Packets:
    """One end of a connection for messages.

    *received* is called for each message, *lost* once when the other end is closed; neither after
    `close`. Messages that the kernel does not accept at once wait in order, without a limit here: their
    number is bounded by the connections of clients, and by callers that check `waiting` before they
    send.
    """

    _log = Logger()

    def __init__(
        self, connection: socket.socket, reactor: Any, received: Received, lost: Callable[[], None]
    ) -> None:
        self._socket = connection
        self._reactor = reactor
        self._received = received
        self._lost = lost
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self.open = True
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return how the reactor calls this in its log."""
        return "worker"

    @property
    def waiting(self) -> int:
        """The number of waiting messages."""
        return len(self._waiting)

    def send(self, data: bytes, *descriptors: int) -> None:
        """Send a message now or later; the caller may close the descriptors at once."""
        if not self.open:
            return
        if not self._waiting and self._sent(data, descriptors):
            return
        if self.open:
            self._waiting.append((data, _duplicates(descriptors)))
            self._reactor.addWriter(self)

    def _sent(self, data: bytes, descriptors: Sequence[int]) -> bool:
        try:
            send(self._socket, data, *descriptors)
        except OSError as error:
            if error.errno not in _FULL:
                self._end()
            elif error.errno != EAGAIN:
                self._reactor.removeWriter(self)
                self._reactor.callLater(RETRY, self._retry)
            return False
        return True

    def _retry(self) -> None:
        if self.open and self._waiting:
            self._reactor.addWriter(self)

    def doWrite(self) -> None:
        """Send waiting messages."""
        while self.open and self._waiting:
            data, descriptors = self._waiting[0]
            if not self._sent(data, descriptors):
                return
            self._waiting.popleft()
            close_all(descriptors)
        if self.open:
            self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Receive some messages."""
        for _ in range(AT_ONCE):
            if not self.open:
                return
            try:
                data, descriptors = receive(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", ()
            if not data:
                close_all(descriptors)
                self._end()
                return
            self._take(data, descriptors)

    def _take(self, data: bytes, descriptors: Sequence[int]) -> None:
        try:
            message = unpack(data)
        except ValueError:
            close_all(descriptors)
            self._log.failure("a message between processes is malformed")
            return
        try:
            self._received(message, descriptors)
        except Exception:
            self._log.failure("a message between processes failed: {kind}", kind=message.kind)

    def _end(self) -> None:
        if self.open:
            self.close()
            self._lost()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has detected that the other end is closed."""
        self._end()

    def close(self) -> None:
        """Close this end; waiting messages are lost. Idempotent."""
        if not self.open:
            return
        self.open = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        for _, descriptors in self._waiting:
            close_all(descriptors)
        self._waiting.clear()
