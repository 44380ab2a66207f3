"""A proxy on a real socket that makes tunnels, or not, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from tests.support.listening import Listening

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@frozen
class Connect:
    """What the proxy was asked: *target* as it stands in the request, all of *head* as it came."""

    method: str
    target: str
    headers: dict[str, str]
    head: bytes


Script = Callable[[Connect], Awaitable[bytes | None]]
"""What to answer before the connection is closed; None makes the tunnel."""


def saying(answer: bytes) -> Script:
    """Say this to everybody."""

    async def script(asked: Connect) -> bytes | None:
        return answer

    return script


def refusing(status: int) -> Script:
    """Answer everybody with a status."""
    return saying(b"HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\n\r\nno" % status)


async def silent(asked: Connect) -> bytes | None:
    """Never answer."""
    return await Deferred()


class _Leg(Protocol):
    """One half of a tunnel."""

    peer: Any = None

    def join(self, peer: Any) -> None:
        self.peer, peer.peer = peer, self
        for one, other in ((self, peer), (peer, self)):
            one.transport.registerProducer(other.transport, True)

    def dataReceived(self, data: bytes) -> None:
        if self.peer is not None:
            self.peer.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.peer is not None:
            self.peer.peer = None
            self.peer.transport.unregisterProducer()
            self.peer.transport.loseConnection()


class _Channel(_Leg):
    """A connection of a client."""

    def __init__(self, proxy: ConnectProxy) -> None:
        self._proxy = proxy
        self._received = b""
        self._asked = False

    def connectionMade(self) -> None:
        self._proxy.channels.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._proxy.channels.discard(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            # A client that does not wait for the answer would be heard by nobody.
            assert self.peer is not None or self.transport.disconnecting, data
            super().dataReceived(data)
            return
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        assert not rest, rest
        self._asked = True
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
        asked = Connect(method, target, headers, head)
        self._proxy.asked.append(asked)
        Deferred.fromCoroutine(self._answer(asked))

    async def _answer(self, asked: Connect) -> None:
        proxy = self._proxy
        answer = None if proxy.script is None else await proxy.script(asked)
        if answer is None and proxy.wants not in (None, asked.headers.get("proxy-authorization")):
            answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        if answer is None:
            answer = await self._open(asked.target)
        if answer is not None and self.connected:
            self.transport.write(answer)
            self.transport.loseConnection()

    async def _open(self, target: str) -> bytes | None:
        """Make the tunnel; return what to say if there is none."""
        place = self._proxy.places.get(target)
        if place is None:
            return b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
        host, _, port = place.rpartition(":")
        endpoint = HostnameEndpoint(self._proxy.reactor, host, int(port))
        try:
            leg = await connectProtocol(endpoint, _Leg())
        except ConnectError:
            return b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
        if self.connected:
            self.transport.write(OPENED)
            self.join(leg)
            self._proxy.opened += 1
        else:
            leg.transport.loseConnection()
        return None


class _Channels(ProtocolFactory):
    """Makes the protocol of each connection to the proxy."""

    noisy = False

    def __init__(self, proxy: ConnectProxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Channel(self._proxy)


@define(eq=False)
class ConnectProxy:
    """Makes tunnels to the *places* it knows, by the targets that lead there.

    *wants*: the ``Proxy-Authorization`` without which there is only a 407. *script* comes before all
    that. ``asked`` is what it was asked, ``opened`` how many tunnels were made.
    """

    reactor: Any
    places: dict[str, str] = Factory(dict)
    wants: str | None = None
    script: Script | None = None
    asked: list[Connect] = Factory(list)
    opened: int = 0
    channels: set[Any] = Factory(set)
    _listening: Listening = Factory(Listening)

    @property
    def port(self) -> int:
        """The port, also while it is down."""
        return self._listening.port

    @property
    def targets(self) -> list[str]:
        """What tunnels were asked for, in order."""
        assert all(asked.method == "CONNECT" for asked in self.asked)
        return [asked.target for asked in self.asked]

    def up(self, tls: Any = None) -> None:
        """Listen, always on the same port; *tls* is a context factory to do so with."""
        self._listening.start(self.reactor, _Channels(self), tls)

    async def down(self) -> None:
        """Refuse connections, and break off those that there are."""
        await self._listening.stop()
        for channel in list(self.channels):
            channel.transport.abortConnection()
        while self.channels:
            await deferLater(self.reactor, 0.002)
