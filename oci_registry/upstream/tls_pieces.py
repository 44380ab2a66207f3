"""TLS connections to upstreams that pass on what has been decrypted in one piece.

Twisted passes on each record (RFC 8446 section 5.1: at most 16 KiB) by itself. All that happens to a
piece of a body then happens sixteen times as often, which costs more than the decryption.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

ENCRYPTED_SIZE = 256 * 1024
"""Encrypted bytes that are read from the socket at once. They are copied three times, so they should
fit into the processor's cache."""


class _Pieces:
    """Replaces a protocol for a moment, and collects what it receives."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received.append(data)


class PiecesTransport(BufferingTLSTransport):
    """A TLS transport that joins the records that have arrived together."""

    wrappedProtocol: Any  # noqa: N815 - as Twisted calls it

    def makeConnection(self, transport: ITransport) -> None:
        """Read more from the socket at once than Twisted does, if the transport is one."""
        if hasattr(transport, "bufferSize"):
            transport.bufferSize = ENCRYPTED_SIZE
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def _flushReceiveBIO(self) -> None:
        """Decrypt what has arrived. Where Twisted does not call this, records are passed on one by one."""
        protocol, pieces = self.wrappedProtocol, _Pieces()
        self.wrappedProtocol = pieces
        try:
            super()._flushReceiveBIO()  # type: ignore[no-untyped-call]
        finally:
            self.wrappedProtocol = protocol
        if pieces.received:
            protocol.dataReceived(b"".join(pieces.received))


class _Factory(TLSMemoryBIOFactory):
    """Makes `PiecesTransport` objects."""

    protocol = PiecesTransport


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """Connects with TLS over another endpoint, as Twisted's `wrapClientTLS` does.

    That cannot be used: it fails if Twisted was imported without OpenSSL.
    """

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
    ) -> None:
        self._creator = creator
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the protocol has its connection before the handshake."""
        factory = _Factory(self._creator, True, protocolFactory, self._clock)
        connecting = self._endpoint.connect(factory)
        return cast(Deferred[Any], connecting).addCallback(lambda tls: tls.wrappedProtocol)
