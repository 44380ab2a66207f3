"""Public addresses only: what keeps an open mirror from becoming a way into somebody's network.

A host that a client merely named is resolved by us, each address is judged, and the connection is made
to the very addresses that passed, so there is no second look-up that could answer differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import directlyProvides, implementer, providedBy

_NAT64 = IPv6Address("64:ff9b::").packed[:12]


def is_public(text: str) -> bool:
    """Whether an IP address is one of the open Internet (IANA's special-purpose registries).

    IPv4 addresses inside IPv6 ones (mapped, 6to4, Teredo, NAT64) are judged as what they lead to.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner: list[IPv4Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a]
        if address.teredo:
            inner.extend(address.teredo)
        if address.packed[:12] == _NAT64:
            inner.append(IPv4Address(address.packed[12:]))
        if not all(is_public(str(a)) for a in inner):
            return False
        if address.ipv4_mapped or address.packed[:12] == _NAT64:
            return True
    return address.is_global and not address.is_multicast


@implementer(IResolutionReceiver)
class _PublicOnly:
    """Pass on the addresses that are public; count the others."""

    def __init__(self, receiver: IResolutionReceiver) -> None:
        self._receiver = receiver

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IAddress) -> None:
        if is_public(str(getattr(address, "host", ""))):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


@implementer(IHostnameResolver)
class _GuardedResolver:
    def __init__(self, resolver: IHostnameResolver) -> None:
        self._resolver = resolver

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        return self._resolver.resolveHostName(
            _PublicOnly(resolutionReceiver), hostName, portNumber, addressTypes, transportSemantics
        )


class GuardedReactor:
    """A reactor whose name resolver knows public addresses only; all else is the real one's.

    Endpoints made with it (`HostnameEndpoint`, and so an Agent's) cannot reach anything else.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor), IReactorPluggableNameResolver)

    @property
    def nameResolver(self) -> IHostnameResolver:
        """The guarded resolver."""
        return _GuardedResolver(self._reactor.nameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
