"""Ports whose connections let files be sent without reading them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from errno import EAGAIN, ENOBUFS
from typing import Any

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.streams.interfaces import SocketWriter

_MORE: int = getattr(socket, "MSG_MORE", 0)


class FileTransport(tcp.Connection):
    """A connection to whose socket others may write, once for each time that it takes something.

    What was written to the transport leaves first. When the connection is closing, nobody else writes.
    """

    _writer: SocketWriter | None = None

    def write_from(self, writer: SocketWriter | None) -> None:
        """Let *writer* write whenever the socket takes something, until this is called with None."""
        self._writer = writer
        if writer is not None:
            self.startWriting()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was written has left, and more may be written."""
        return bool(self.connected) and not (
            self.dataBuffer
            or self._tempDataBuffer
            or self._writer is not None
            or self.disconnecting
            or self._writeDisconnecting
        )

    def write_now(self, data: bytes) -> None:
        """Write *data* as `write` does, but what the socket takes at once without waiting for the reactor."""
        if self.is_idle:
            # If it fails, so does the next attempt, where that is handled.
            with suppress(OSError):
                data = data[self.socket.send(data) :]
        self.write(data)

    def doWrite(self) -> Any:
        """The socket takes something: what was written to the transport, then what the writer has."""
        if self._writer is None or self.disconnecting or self._writeDisconnecting:
            return super().doWrite()
        if self._has_data():
            result = super().doWrite()
            if result is not None or self._has_data():
                return result
        if self._writer is not None:
            self._writer.write_now(self.fileno())
        self._go_on_writing()
        return None

    def _has_data(self) -> bool:
        return bool(self.dataBuffer or self._tempDataBuffer)

    def stopWriting(self) -> None:
        """Nothing is left of what was written to the transport; the writer may have more."""
        if self._writer is None:
            super().stopWriting()

    def _go_on_writing(self) -> None:
        """Wait for the socket again only if there is more to write, or to do after the last byte."""
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
        self._writer = None
        super().abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Nobody writes any more."""
        self._writer = None
        super().connectionLost(reason)


class TCPFileTransport(FileTransport, tcp.Server):
    """A connection of a TCP port."""


class UNIXFileTransport(FileTransport, unix.Server):
    """A connection of a UNIX socket."""


Transports = Mapping[type, type[FileTransport]]
TRANSPORTS: Transports = {tcp.Port: TCPFileTransport, unix.Port: UNIXFileTransport}
"""The transport for each class of port. With other classes, and other reactors, files are read."""


@implementer(IStreamServerEndpoint)
@frozen
class FileEndpoint:
    """An endpoint with connections that let files be sent, if it is one for plain connections.

    It is not where something stands between the connection and our protocol: TLS, the PROXY protocol.
    """

    endpoint: IStreamServerEndpoint
    transports: Transports = TRANSPORTS

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, as the endpoint itself does."""
        return self.endpoint.listen(factory).addCallback(self._listening, factory)

    def _listening(self, port: Any, factory: IProtocolFactory) -> IListeningPort:
        transport = self.transports.get(type(port))
        if transport is not None and port.factory is factory:
            # Twisted reads this attribute for each connection, for such replacements.
            port.transport = transport
        listening: IListeningPort = port
        return listening
