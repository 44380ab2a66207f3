"""Looks up the names of hosts, in threads of their own, and each once for all connections that wait for it.

A name server that does not answer keeps a look-up waiting for half a minute. If each connection took a
thread for that, those of one host would hold up the connections to all others.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from attrs import define, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.authority import address_of

MOST = 1000
"""Connections that wait for one name; if there are more, the first ones get no address."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

SocketAddress = tuple[Any, ...]
"""A host and port, and for IPv6 the flow and the scope, as `socket` has them."""


@implementer(IHostResolution)
@frozen
class Resolution:
    """A look-up that is under way, which cannot be cancelled."""

    name: str

    def cancel(self) -> None:
        raise NotImplementedError


@frozen
class _Waiting:
    """A receiver of addresses with its port; *types*: of the addresses that it takes, None for all."""

    receiver: IResolutionReceiver
    port: int
    types: Sequence[type[IAddress]] | None
    transport: Literal["TCP", "UDP"]

    def pass_on(self, found: Sequence[SocketAddress]) -> None:
        """Pass the addresses on."""
        for host, _, *rest in found:
            kind = IPv6Address if rest else IPv4Address
            if self.types is None or kind in self.types:
                self.receiver.addressResolved(kind(self.transport, host, self.port, *rest))
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
class ThreadedResolver:
    """Looks names up with *look_up*, which is called as `socket.getaddrinfo`, in threads of its own.

    A name is looked up once for all who ask for it meanwhile; an address needs no look-up.
    """

    _log = Logger()

    def __init__(
        self,
        in_thread: RunInThread,
        look_up: Callable[..., Sequence[Sequence[Any]]] = socket.getaddrinfo,
    ) -> None:
        self._in_thread = in_thread
        self._look_up = look_up
        self._waiting: dict[str, deque[_Waiting]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Tell the receiver the addresses of a host: none if it has none, or cannot be looked up."""
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        transport: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        one = _Waiting(resolutionReceiver, portNumber, addressTypes, transport)
        if address_of(hostName) is not None and "%" not in hostName:
            one.pass_on([(hostName, 0, 0, 0) if ":" in hostName else (hostName, 0)])
        elif hostName in self._waiting:
            waiting = self._waiting[hostName]
            waiting.append(one)
            if len(waiting) > MOST:
                waiting.popleft().pass_on(())
        else:
            self._waiting[hostName] = deque((one,))
            # If no thread can be started, this fails at once, and the name must not wait for ever.
            looking = maybeDeferred(self._in_thread, self._find, hostName)
            looking.addErrback(self._failed, hostName).addCallback(self._found, hostName)
        return resolution

    def _find(self, host: str) -> list[SocketAddress]:
        """Look a name up, in a thread."""
        found = self._look_up(host, 0, socket.AF_UNSPEC, socket.SOCK_STREAM)
        return [address for family, _, _, _, address in found if family in _FAMILIES]

    def _failed(self, failure: Failure, host: str) -> list[SocketAddress]:
        if not failure.check(OSError, UnicodeError):
            self._log.failure("the look-up of {host} failed", failure, host=host)
        return []

    def _found(self, found: list[SocketAddress], host: str) -> None:
        for one in self._waiting.pop(host):
            one.pass_on(found)


class ResolvingReactor:
    """A reactor with a name resolver of its own, which subclasses have."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor), IReactorPluggableNameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class NamesReactor(ResolvingReactor):
    """A reactor whose names *resolver* looks up."""

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        super().__init__(reactor)
        self.nameResolver = resolver


@implementer(IResolutionReceiver)
class PassingReceiver:
    """Passes addresses on to *receiver*, and calls *ended* after the last one."""

    def __init__(self, receiver: IResolutionReceiver, ended: Callable[[], None]) -> None:
        self._receiver = receiver
        self._ended = ended

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IAddress) -> None:
        self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._ended()
        self._receiver.resolutionComplete()


@implementer(IHostnameResolver)
@define
class _NamedResolver:
    """A resolver that resolves *name*, whatever name is given; `under_way`: how many times now."""

    resolver: IHostnameResolver
    name: str
    under_way: int = 0

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.under_way += 1
        return self.resolver.resolveHostName(
            PassingReceiver(resolutionReceiver, self._ended),
            self.name,
            portNumber,
            addressTypes,
            transportSemantics,
        )

    def _ended(self) -> None:
        self.under_way -= 1


class NamedReactor(ResolvingReactor):
    """A reactor for one connection, whose name resolver resolves *name*, whatever name is given.

    Endpoints refuse to resolve some names, and do not tell whether they are still waiting for a resolver.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        super().__init__(reactor)
        self.nameResolver = _NamedResolver(reactor.nameResolver, name)

    @property
    def looking_up(self) -> bool:
        """Whether the connection is waiting for its addresses."""
        return self.nameResolver.under_way > 0
