"""The authority of a URL (RFC 3986 section 3.2): the host and port that a connection leads to."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen
from twisted.web.client import URI

from oci_registry.config.settings import HostSettings, ProxySettings
from oci_registry.spec.urls import PORTS, BadAddress, authority, split_authority

_NAME = re.compile(r"(?=.{1,254}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address in *host*, as IPv4 if it is mapped; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@frozen
class Authority:
    """A host, in lower case and without the brackets of an IPv6 address, and a port."""

    host: str
    port: int

    @classmethod
    def of_upstream(cls, settings: HostSettings) -> Authority:
        """Where an upstream's own host is."""
        host, port = split_authority(settings.host)
        return cls(host, port or PORTS[settings.scheme])

    @classmethod
    def of_uri(cls, uri: URI) -> Authority:
        """Where a URI leads; `BadAddress` unless that can be a name (in ASCII) or an address."""
        host = uri.host.decode("ascii", "replace").lower()
        if address_of(host) is None and _NAME.fullmatch(host) is None:
            raise BadAddress("the host is invalid")
        if not 0 < uri.port < 65536:
            raise BadAddress("the port is invalid")
        return cls(host, uri.port)

    @classmethod
    def of_proxy(cls, settings: ProxySettings) -> Authority:
        """Where a proxy is."""
        return cls(settings.host, settings.port)

    def __str__(self) -> str:
        """Write it as the authority of a URL (RFC 3986 section 3.2)."""
        return authority(self.host, self.port)
