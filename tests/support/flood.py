"""An upstream on a real socket that says whatever it is told to, without end if need be."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

MIB = 1024 * 1024

Words = Callable[[bytes], Iterator[bytes]]
"""What is said to a request, in pieces."""


@implementer(IPullProducer)
class _Flooding(Protocol):
    """Answers each request, piece by piece as the other side takes them."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._received = b""
        self._words: Iterator[bytes] | None = None

    def connectionMade(self) -> None:
        self._flood.connections.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._flood.connections.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._words is None and b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._words = self._flood.words(request)
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Say some more."""
        piece = None if self._words is None else next(self._words, None)
        if piece is not None:
            self._flood.said += len(piece)
            self.transport.write(piece)
            return
        self._words = None
        self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """The other side has hung up."""
        self._words = None


class Flood(Factory):
    """Listens on a free port of *reactor* and says `words`; *said* counts bytes."""

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.words: Words = lambda _: iter(())
        self.said = 0
        self.connections: set[Any] = set()
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.host = f"127.0.0.1:{self._port.getHost().port}"

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Flooding(self)

    async def stop(self) -> None:
        """Listen no more, and hang up."""
        for connection in list(self.connections):
            connection.transport.abortConnection()
        await self._port.stopListening()


def bomb(size: int) -> bytes:
    """Return a gzip of *size* zeros, whole MiB; made without compressing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    more = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + more * (size // MIB - 1)


def encoded(body: bytes, coding: str) -> bytes:
    """Return an answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Encoding: {coding}\r\n\r\n"
    return head.encode() + body
