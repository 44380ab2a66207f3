"""Connections through a proxy (``CONNECT``, RFC 9110 section 9.3.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from zope.interface import implementer

from oci_registry.config.settings import ProxySettings
from oci_registry.upstream.authority import Authority
from oci_registry.upstream.failures import too_late
from oci_registry.upstream.proxies import CREDENTIALS_WANTED, ProxyFailed, ProxyRefused
from oci_registry.upstream.schemes.basic import basic_authorization

MAX_HEAD = 16 * 1024
"""Bytes that the head of a proxy's answer may have."""
_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")


class _Refusal(Exception):
    """The proxy has refused a tunnel with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Tunnel(Protocol):
    """A connection to a proxy that sends *request* and is then passed to a protocol of *inner*.

    `opened` fires with that protocol after the proxy's response; what follows the head of the
    response belongs to the protocol. Otherwise the connection is closed, also when it is cancelled.
    """

    def __init__(self, request: bytes, inner: IProtocolFactory, address: IAddress) -> None:
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._close())
        self._request = request
        self._factory = inner
        self._address = address
        self._received = bytearray()
        self._inner: IProtocol | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self.opened.called:
            self._received += data
            self._read()

    def _read(self) -> None:
        """Look for the final response; interim ones (1xx) are skipped."""
        received = self._received
        while True:
            end = received.find(b"\r\n\r\n", 0, MAX_HEAD)
            begun = received[: len(_BEGINNING)] == _BEGINNING[: len(received)]
            if end < 0 and begun and len(received) < MAX_HEAD:
                return
            line = _STATUS_LINE.match(received)
            if end < 0 or line is None:
                self._fail(ParseError("no answer to CONNECT", bytes(received[:80])))
                return
            status = int(line[1])
            del received[: end + 4]
            if 200 <= status < 300:
                self._open()
                return
            if status >= 300:
                self._fail(_Refusal(status))
                return

    def _open(self) -> None:
        inner = self._factory.buildProtocol(self._address)
        if inner is None:
            self._fail(NoProtocol())
            return
        self._inner = inner
        assert self.transport is not None
        inner.makeConnection(self.transport)
        self.opened.callback(inner)
        # Only after the caller has received the connection: it may be about to send a request.
        if self._received:
            inner.dataReceived(bytes(self._received))
            self._received.clear()

    def _fail(self, error: Exception) -> None:
        self._close()
        self.opened.errback(error)

    def _close(self) -> None:
        # TCP or TLS: both transports have this method.
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(reason)


class _Tunnels(Factory):
    """Makes the connection to the proxy."""

    noisy = False

    def __init__(self, request: bytes, inner: IProtocolFactory) -> None:
        self._request = request
        self._inner = inner

    def startFactory(self) -> None:
        self._inner.doStart()

    def stopFactory(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> _Tunnel:
        assert addr is not None
        return _Tunnel(self._request, self._inner, addr)


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Connects through a proxy to the first of several addresses that works.

    *to_proxy* connects to the proxy; *find_hosts* returns the hosts in the form for the proxy.
    Everything takes *timeout* seconds at most. Fails with `ProxyFailed`, `ProxyRefused`, or the
    failure of *find_hosts*.
    """

    def __init__(
        self,
        clock: IReactorTime,
        proxy: ProxySettings,
        to_proxy: IStreamClientEndpoint,
        find_hosts: Callable[[], Deferred[Sequence[str]]],
        port: int,
        timeout: float,
    ) -> None:
        self._clock = clock
        self._proxy = Authority.of_proxy(proxy)
        self._credentials = proxy.credentials
        self._to_proxy = to_proxy
        self._find_hosts = find_hosts
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; cancelling closes the connection to the proxy."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        end = self._clock.seconds() + self._timeout
        hosts = await self._find_hosts().addTimeout(self._timeout, self._clock, too_late)
        for left, host in zip(range(len(hosts), 0, -1), hosts, strict=True):
            opening = Deferred.fromCoroutine(self._open(host, factory))
            # A host that the proxy cannot reach must leave time for the others.
            share = max(end - self._clock.seconds(), 0) / left
            opening.addTimeout(share, self._clock, too_late)
            try:
                return await opening
            except _Refusal as error:
                if left == 1 or error.status == CREDENTIALS_WANTED:
                    known = self._credentials is not None
                    raise ProxyRefused(self._proxy, error.status, known=known) from None
            except DeferredTimeout as error:
                if left == 1:
                    raise ProxyFailed(self._proxy, error) from None
            except Exception as error:
                raise ProxyFailed(self._proxy, error) from None
        raise AssertionError("there is no host to connect to")

    async def _open(self, host: str, factory: IProtocolFactory) -> IProtocol:
        tunnel = await self._to_proxy.connect(_Tunnels(self._request(host), factory))
        assert isinstance(tunnel, _Tunnel)
        return await tunnel.opened

    def _request(self, host: str) -> bytes:
        target = Authority(host, self._port)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self._credentials is not None:
            lines.append(f"Proxy-Authorization: {basic_authorization(self._credentials)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
