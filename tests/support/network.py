"""A network of our own: a reactor for which names and addresses lead where a test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import directlyProvides, implementer, providedBy


@implementer(IHostnameResolver)
class Network:
    """A reactor whose resolver knows *names*, and whose connections are led to servers of the test.

    ``names``: the addresses of each host; ``servers``: the port of 127.0.0.1 where a place really is.
    ``dialled``: where connections were made to; ``looked_up``: which names were asked for. A host that
    is not in ``names`` is looked up as the system does, and a place not in ``servers`` is a closed
    port: nothing leaves the machine unless it is an address of the machine's own.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.names: dict[str, list[str]] = {}
        self.servers: dict[tuple[str, int], int] = {}
        self.dialled: list[tuple[str, int]] = []
        self.looked_up: list[str] = []
        directlyProvides(self, providedBy(reactor), IReactorPluggableNameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def nameResolver(self) -> IHostnameResolver:
        return self

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.looked_up.append(hostName)
        if hostName not in self.names:
            system: Any = self._reactor.nameResolver
            resolving: IHostResolution = system.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
            return resolving
        resolution: Any = object()
        resolutionReceiver.resolutionBegan(resolution)
        for address in self.names[hostName]:
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution

    def connectTCP(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        """Connect to where the place really is."""
        self.dialled.append((host, port))
        closed = port if host == "127.0.0.1" else 1
        return self._reactor.connectTCP(
            "127.0.0.1", self.servers.get((host, port), closed), *args, **options
        )
