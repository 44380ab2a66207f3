"""Connections that can send files without reading them, and that can be handed to another process."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EAGAIN, ENOBUFS, EWOULDBLOCK
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

from oci_registry.streams.interfaces import SharedWriter, SocketWriter
from oci_registry.web.polling import Poller

_AT_ONCE = 16 * 1024
"""Bytes that are read at once: requests are short, and a larger buffer would be cleared each time."""
_MORE: int = getattr(socket, "MSG_MORE", 0)


Delegate = Callable[[SharedWriter], Callable[[], None] | None]
"""Lets another process write; returns a function that ends that early, or None if it is not possible."""


class FileTransport(tcp.Connection):
    """A connection whose socket others may write to, once each time it is writable.

    Bytes that were written to the transport are sent first. While the connection is closing, nobody
    else writes. `drained`, if there is one, is called whenever all that was written has been sent.
    `delegate`, if there is one, may let another process write in place of a writer.
    """

    _writer: SocketWriter | None = None
    _poller: Poller | None = None
    _detached = False
    drained: Callable[[], None] | None = None
    delegate: Delegate | None = None
    _recall: Callable[[], None] | None = None

    def write_from(self, writer: SocketWriter | None) -> None:
        """Let *writer* write whenever the socket is writable, until this is called with None."""
        self._end_delegation()
        self._writer = writer
        if writer is not None:
            self.startWriting()

    @property
    def pending(self) -> bool:
        """Whether bytes remain to be sent, or the connection remains to be closed."""
        return bool(
            self._writer is not None
            or self._has_data()
            or self.disconnecting
            or self._writeDisconnecting
        )

    @property
    def is_idle(self) -> bool:
        """Whether everything that was written has been sent, and more may be written."""
        return bool(
            self.connected
            and self._writer is None
            and not self._tempDataBuffer
            and not self.dataBuffer
            and not self.disconnecting
            and not self._writeDisconnecting
        )

    def write_now(self, data: bytes) -> None:
        """Write *data* as `write` does, but send what the socket accepts at once."""
        if self.is_idle:
            self.send_at_once(data)
        else:
            self.write(data)

    def send_at_once(self, data: bytes) -> None:
        """Do the same as `write_now`, if `is_idle` is true."""
        # If it fails, the next attempt fails too, and handles that.
        with suppress(OSError):
            sent = self.socket.send(data)
            if sent == len(data):
                if self.drained is not None:
                    self.startWriting()
                return
            data = data[sent:]
        self.write(data)

    def poll_with(self, poller: Poller) -> None:
        """Let *poller* wait for received bytes, in place of the reactor."""
        if self._poller is None and self.connected:
            super().stopReading()
            self._poller = poller
            poller.add(self)

    def stop_polling(self) -> None:
        """Let the reactor wait for received bytes again."""
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.remove(self)
            super().startReading()

    def startReading(self) -> None:
        """Wait for received bytes."""
        if self._poller is None:
            super().startReading()
        else:
            self._poller.add(self)

    def stopReading(self) -> None:
        """Stop waiting for received bytes."""
        if self._poller is None:
            super().stopReading()
        else:
            self._poller.remove(self)

    def doRead(self) -> Any:
        """Read from the socket, which is readable."""
        if self._detached:
            return None
        try:
            data = self.socket.recv(_AT_ONCE)
        except OSError as error:
            return None if error.errno == EWOULDBLOCK else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def doWrite(self) -> Any:
        """Write to the socket, which is writable."""
        if self._detached:
            return None
        result = self._write_some()
        if result is None and self.drained is not None and not self.pending:
            self.drained()
        return result

    def _write_some(self) -> Any:
        """Send the bytes that were written to the transport, then those of the writer."""
        if self._writer is None or self.disconnecting or self._writeDisconnecting:
            return super().doWrite()
        if self._has_data():
            result = super().doWrite()
            if result is not None or self._has_data():
                return result
        if self._recall is not None or self._delegated():
            super().stopWriting()
            return None
        if self._writer is not None:
            self._writer.write_now(self.fileno())
        self._go_on_writing()
        return None

    def _delegated(self) -> bool:
        """Let another process write, if that is possible; return whether it does."""
        if self.delegate is not None and hasattr(self._writer, "ended_elsewhere"):
            self._recall = self.delegate(cast(SharedWriter, self._writer))
        return self._recall is not None

    def returned(self) -> None:
        """Take note that the other process has stopped writing."""
        self._recall = None
        if self._writer is not None:
            cast(SharedWriter, self._writer).ended_elsewhere()
        if self.connected and not self._detached:
            self.startWriting()

    def _end_delegation(self) -> None:
        recall, self._recall = self._recall, None
        if recall is not None:
            recall()

    def _has_data(self) -> bool:
        return bool(self.dataBuffer or self._tempDataBuffer)

    def stopWriting(self) -> None:
        """Stop writing bytes of the transport, all of which are sent; the writer may have more."""
        if self._writer is None:
            super().stopWriting()

    def _go_on_writing(self) -> None:
        """Wait for the socket again only if there is more to write, or to be done after the last byte."""
        if self._writer is None and not (
            self._has_data() or self.disconnecting or self._writeDisconnecting
        ):
            self.stopWriting()

    def writeSomeData(self, data: Any) -> Any:
        """Write to the socket; if more follows at once, the kernel waits for it to fill a packet."""
        if self._writer is None:
            return super().writeSomeData(data)
        try:
            return self.socket.send(data, _MORE)
        except OSError as error:
            return 0 if error.errno in (EAGAIN, ENOBUFS) else CONNECTION_LOST

    def abortConnection(self) -> None:
        """Nobody writes any more."""
        self.write_from(None)
        super().abortConnection()

    def detach(self) -> None:
        """Close only our descriptor: the connection continues in another process. Nothing is read or
        sent here any more.

        The protocol loses the connection in the next iteration of the reactor, which may still have an
        event for the descriptor.
        """
        self._detached = True
        self._shouldShutdown = False
        self.drained = None
        self.stopReading()
        self.stopWriting()
        reactor: Any = self.reactor
        reactor.callLater(0, self._leave)

    def _leave(self) -> None:
        if not self.disconnected:
            self.connectionLost(Failure(ConnectionDone("handed to another process")))

    def connectionLost(self, reason: Failure) -> None:
        """Nobody writes any more."""
        self.write_from(None)
        super().connectionLost(reason)


class TCPFileTransport(FileTransport, tcp.Server):
    """A connection of a TCP port."""


class UNIXFileTransport(FileTransport, unix.Server):
    """A connection of a UNIX socket."""
