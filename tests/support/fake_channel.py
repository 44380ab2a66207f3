"""The server side of HTTP as tests need it: replies are sent as they are, however wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from tests.support.fake_replies import Asked, Reply

CHUNK = 64 * 1024


@implementer(IPullProducer)
class _Body:
    """Send a body piece by piece, stopping where the reply says."""

    def __init__(self, channel: Channel, reply: Reply) -> None:
        self._channel = channel
        self._reply = reply
        self._sent = 0
        self._held = reply.hold is None
        self._trickled = 0

    def resumeProducing(self) -> None:
        reply = self._reply
        if not self._held and self._sent >= reply.hold_at:
            self._held = True
            assert reply.hold is not None
            self._pause()
            reply.hold.addCallback(lambda _: self._go_on())
            return
        if self._sent == reply.stall:
            self._pause()
            return
        self._write(self._next_stop())
        if reply.cut is not None and self._sent >= reply.cut:
            self._pause()
            if reply.reset:
                self._channel.transport.abortConnection()
            else:
                self._channel.transport.loseConnection()
        elif self._sent >= len(reply.body):
            self._pause()
            self._end()
        elif self._trickles():
            assert reply.trickle is not None
            self._pause()
            self._trickled += 1
            self._channel.later(reply.trickle.pause, self._go_on)

    def _next_stop(self) -> int:
        """Return how far to send now."""
        reply = self._reply
        stops = [len(reply.body), self._sent + CHUNK]
        stops += [at for at in (reply.cut, reply.stall) if at is not None]
        if not self._held:
            stops.append(reply.hold_at)
        if reply.trickle is not None:
            if self._sent < reply.trickle.at:
                stops.append(reply.trickle.at)
            elif self._sent < self._trickle_stop():
                stops.append(self._sent + reply.trickle.piece)
        return max(min(stops), self._sent)

    def _trickle_stop(self) -> int:
        trickle = self._reply.trickle
        return 0 if trickle is None else trickle.at + trickle.times * trickle.piece

    def _trickles(self) -> bool:
        trickle = self._reply.trickle
        return trickle is not None and trickle.at <= self._sent < self._trickle_stop()

    def _write(self, stop: int) -> None:
        piece = bytes(self._reply.body[self._sent : stop])
        self._sent = stop
        if piece:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if self._reply.chunked else piece
            self._channel.transport.write(framed)

    def _end(self) -> None:
        if self._reply.chunked:
            self._channel.transport.write(b"0\r\n\r\n")
        if self._reply.close or (self._reply.length is None and not self._reply.chunked):
            self._channel.transport.loseConnection()
        else:
            self._channel.next_request()

    def _pause(self) -> None:
        self._channel.transport.unregisterProducer()

    def _go_on(self) -> None:
        if self._channel.connected:
            self._channel.transport.registerProducer(self, False)

    def stopProducing(self) -> None:
        """The mirror has hung up."""
        self._channel.registry.hung_up += 1


class Requests:
    """The requests of a connection, as they arrive one after the other."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._buffer = bytearray()
        self._begun: Asked | None = None

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def next(self) -> Asked | None:
        """Return the next request if all of it has arrived; the client is told to send a body if it asks."""
        if self._begun is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            line, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
            method, target, _ = line.split(" ")
            path, _, query = target.partition("?")
            self._begun = Asked(method, path, query, headers)
            del self._buffer[: end + 4]
            if "expect" in headers:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(self._begun.headers.get("content-length", "0"))
        if len(self._buffer) < length:
            return None
        asked = evolve(self._begun, body=bytes(self._buffer[:length])) if length else self._begun
        del self._buffer[:length]
        self._begun = None
        return asked


class Channel(Protocol):
    """A connection: one request after the other."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self._requests = Requests(self._write)
        self._busy = False
        self._delayed: Any = None

    def connectionMade(self) -> None:
        self.registry.channels.add(self)
        self.registry.connections += 1

    def connectionLost(self, reason: Any = None) -> None:
        self.registry.channels.discard(self)
        if self._delayed is not None and self._delayed.active():
            self._delayed.cancel()

    def later(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Do the next thing after so long, if the connection is there by then."""
        self._delayed = self.registry.reactor.callLater(seconds, act, *args)

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self._requests.feed(data)
        self._try()

    def next_request(self) -> None:
        self._busy = False
        self._try()

    def _try(self) -> None:
        asked = None if self._busy else self._requests.next()
        if asked is not None:
            self._busy = True
            self.registry.asked.append(asked)
            self.answer(asked)

    def answer(self, asked: Asked) -> None:
        """Answer a request, now or later, with `send`."""
        reply = self.registry.answer(asked)
        if reply.silent:
            return
        if reply.delay:
            self.later(reply.delay, self.send, asked, reply)
        else:
            self.send(asked, reply)

    def send(self, asked: Asked, reply: Reply) -> None:
        """Begin to send an answer."""
        headers = dict(reply.headers)
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.length is not None:
            length = len(reply.body) if reply.length == "right" else reply.length
            if "content-length" not in {name.lower() for name in headers}:
                headers["Content-Length"] = str(length)
        lines = [f"HTTP/1.1 {reply.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if asked.method == "HEAD" or (
            not reply.body and not reply.chunked and reply.cut is None and reply.length is not None
        ):
            self.next_request()
        else:
            self.transport.registerProducer(_Body(self, reply), False)


class Channels(ProtocolFactory):
    """Makes channels of a kind for a server."""

    noisy = False

    def __init__(self, registry: Any, channel: Callable[[Any], Protocol] = Channel) -> None:
        self._registry = registry
        self._channel = channel

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._channel(self._registry)
