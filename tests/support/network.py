"""A network of our own: a reactor for which names and addresses lead where a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.testing import MemoryReactorClock
from zope.interface import directlyProvides, implementer, providedBy


@implementer(IHostnameResolver)
class Names:
    """A resolver that knows the addresses of some hosts (None: it never says), and asks *others*.

    ``asked`` is what it was asked for.
    """

    def __init__(
        self, known: Mapping[str, list[str] | None], others: IHostnameResolver | None = None
    ) -> None:
        self.known = dict(known)
        self.asked: list[str] = []
        self._others = others
        self._waiting: dict[str, IResolutionReceiver] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        if hostName not in self.known and self._others is not None:
            return self._others.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
        resolutionReceiver.resolutionBegan(object())
        addresses = self.known.get(hostName, [])
        self._waiting[hostName] = resolutionReceiver
        if addresses is not None:
            self.answer(hostName, addresses, portNumber)
        return self

    def answer(self, host: str, addresses: list[str], port: int = 0) -> None:
        """Say what the addresses of a host are, after all."""
        receiver = self._waiting.pop(host)
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


def resolving(known: Mapping[str, list[str] | None]) -> Any:
    """Return a reactor in memory whose resolver knows some hosts, and no others."""
    reactor: Any = MemoryReactorClock()
    reactor.nameResolver = Names(known)
    directlyProvides(reactor, providedBy(reactor), IReactorPluggableNameResolver)
    return reactor


class Network:
    """A real reactor whose connections are led to servers of the test.

    ``names``: the addresses of hosts; others are looked up as the system does. ``servers``: the port
    of 127.0.0.1 where a place really is; others, but for 127.0.0.1 itself, lead to a closed port, so
    that nothing leaves the machine. ``dialled``: where connections were made to.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.nameResolver = Names({}, reactor.nameResolver)
        self.names = self.nameResolver.known
        self.servers: dict[tuple[str, int], int] = {}
        self.dialled: list[tuple[str, int]] = []
        directlyProvides(self, providedBy(reactor), IReactorPluggableNameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        """Connect to where the place really is."""
        self.dialled.append((host, port))
        closed = port if host == "127.0.0.1" else 1
        return self._reactor.connectTCP(
            "127.0.0.1", self.servers.get((host, port), closed), *args, **options
        )
