"""Allows public addresses only, so that an open mirror gives no access to a private network.

A host that is not configured is resolved here, each address is checked, and the connection goes to
a checked address. There is no second look-up that could give another result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from oci_registry.streams.tally import Tally
from oci_registry.upstream.authority import address_of
from oci_registry.upstream.errors import TooManyLookups
from oci_registry.upstream.failures import NameCancelled
from oci_registry.upstream.names import PassingReceiver, Resolution, ResolvingReactor

MAX_ADDRESSES = 8
"""Addresses of one host that are tried; the owner of its name can give it thousands."""
AT_ONCE = 16
"""Names that are looked up at once: a part of the threads for names."""
WAITING = 64
"""Names that may wait for a look-up; further ones are refused."""
MOST_WAITING = 1000
"""Connections that may wait for one of these names; further ones are refused."""
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
# Special-purpose networks that the ipaddress module knows partly, in later versions only, or not at
# all. Clouds have a metadata server in the first; the second was for 6to4 relays.
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))


def is_public(text: str) -> bool:
    """Return whether an IP address is public (IANA's special-purpose registries).

    IPv4 addresses inside IPv6 ones (mapped, NAT64) are checked as the IPv4 address; 6to4 and Teredo
    are not public.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address in _NAT64:
            return is_public(str(IPv4Address(address.packed[12:])))
        # No registry has an address that is not global unicast (RFC 4291 section 2.4).
        if address not in _UNICAST:
            return False
        # Relays into IPv4, with no registry behind them.
        if address.sixtofour is not None or address.teredo is not None:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast


class Lookups:
    """Has a few names looked up at a time, queues some more, and refuses the rest.

    The owner of a name can make its look-up take half a minute, and all look-ups use the same
    threads. Further look-ups of a name that is being looked up need none.
    """

    def __init__(self) -> None:
        self._running: Tally[str] = Tally()
        self._waiting: dict[str, list[Callable[[], object]]] = {}

    def is_waiting(self, host: str) -> bool:
        """Return whether a name is in the queue."""
        return host in self._waiting

    def is_full(self, host: str) -> bool:
        """Return whether there is no place in the queue for a look-up of a name."""
        if host in self._running or len(self._running) < AT_ONCE:
            return False
        if host in self._waiting:
            return len(self._waiting[host]) >= MOST_WAITING
        return len(self._waiting) >= WAITING

    def begin(self, host: str, look_up: Callable[[], object]) -> bool:
        """Call *look_up* when it is the turn of a name; return False if the queue is full.

        *look_up* ends with a call of `done`.
        """
        if self.is_full(host):
            return False
        if host in self._running or len(self._running) < AT_ONCE:
            self._running[host] += 1
            look_up()
        else:
            self._waiting.setdefault(host, []).append(look_up)
        return True

    def done(self, host: str) -> None:
        """End a look-up of a name; after its last one, start those of the next name."""
        self._running.end(host)
        if host not in self._running and self._waiting:
            host = next(iter(self._waiting))
            waiting = self._waiting.pop(host)
            self._running[host] = len(waiting)
            for look_up in waiting:
                look_up()


class _PublicOnly(PassingReceiver):
    """Passes on public addresses only, and only as many as will be tried."""

    _passed = 0

    def addressResolved(self, address: IAddress) -> None:
        if self._passed < MAX_ADDRESSES and is_public(str(getattr(address, "host", ""))):
            self._passed += 1
            super().addressResolved(address)


@implementer(IResolutionReceiver)
class _Found:
    """Collects the addresses of *host*; *cancelled* returns the error if they are not waited for."""

    def __init__(self, host: str, cancelled: Callable[[], Exception]) -> None:
        self.addresses: Deferred[Sequence[str]] = Deferred(lambda d: d.errback(cancelled()))
        self._host = host
        self._found: list[str] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        self._found.append(str(getattr(address, "host", "")))

    def resolutionComplete(self) -> None:
        if self.addresses.called:
            return
        if self._found:
            self.addresses.callback(self._found)
        else:
            self.addresses.errback(DNSLookupError(f"no public address of {self._host}"))


@implementer(IHostnameResolver)
class _GuardedResolver:
    """A resolver that returns public addresses only, a few look-ups at a time."""

    def __init__(self, resolver: IHostnameResolver, lookups: Lookups) -> None:
        self._resolver = resolver
        self._lookups = lookups

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        def look_up(done: Callable[[], None]) -> None:
            self._resolver.resolveHostName(
                _PublicOnly(resolutionReceiver, done),
                hostName,
                portNumber,
                addressTypes,
                transportSemantics,
            )

        resolution = Resolution(hostName)
        if address_of(hostName) is not None and is_public(hostName):
            # It needs no look-up.
            look_up(lambda: None)
        elif address_of(hostName) is not None or not self._lookups.begin(
            hostName, partial(look_up, partial(self._lookups.done, hostName))
        ):
            resolutionReceiver.resolutionBegan(resolution)
            resolutionReceiver.resolutionComplete()
        return resolution


class GuardedReactor(ResolvingReactor):
    """A reactor whose name resolver returns public addresses only.

    Endpoints made with it (`HostnameEndpoint`, and so an Agent's) cannot reach others.
    """

    def __init__(self, reactor: Any, lookups: Lookups) -> None:
        super().__init__(reactor)
        self._lookups = lookups

    @property
    def nameResolver(self) -> IHostnameResolver:
        """The guarded resolver."""
        return _GuardedResolver(self._reactor.nameResolver, self._lookups)

    def check(self, host: str) -> None:
        """Raise the error that a connection to *host* would fail with, if it is known already.

        `DNSLookupError` for an address that is not public, `TooManyLookups` if the queue is full.
        """
        if address_of(host) is not None:
            if not is_public(host):
                raise DNSLookupError(f"{host} is not a public address")
        elif self._lookups.is_full(host):
            raise TooManyLookups(host)

    def cancelled(self, host: str) -> Exception:
        """Return the error of a connection that was cancelled while *host* was being looked up.

        `TooManyLookups` if its look-up is waiting for those of others, `NameCancelled` otherwise.
        """
        return TooManyLookups(host) if self._lookups.is_waiting(host) else NameCancelled(host)


def resolve_public(reactor: GuardedReactor, host: str) -> Deferred[Sequence[str]]:
    """Return the public addresses of *host*; `DNSLookupError` or `TooManyLookups` if there are none.

    If it is cancelled, it fails with what `GuardedReactor.cancelled` returns.
    """
    try:
        reactor.check(host)
    except (DNSLookupError, TooManyLookups):
        return fail()
    found = _Found(host, partial(reactor.cancelled, host))
    reactor.nameResolver.resolveHostName(found, host)
    return found.addresses
