"""Chooses the proxy of a connection, and explains its failures."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from attrs import frozen

from oci_registry.config.settings import DIRECT, EgressSettings, HostSettings, ProxySettings
from oci_registry.upstream.authority import Authority, address_of

CREDENTIALS_WANTED = 407
"""The status of a proxy that requires credentials, or rejects them (RFC 9110 section 15.5.8)."""


class ProxyFailed(Exception):
    """A proxy could not be reached, or its response was not HTTP; *reason* says why."""

    def __init__(self, proxy: Authority, reason: BaseException) -> None:
        super().__init__(str(proxy), reason)
        self.proxy = proxy
        self.reason = reason


class ProxyRefused(Exception):
    """A proxy refused a tunnel with *status*; *known*: credentials were sent."""

    def __init__(self, proxy: Authority, status: int, *, known: bool) -> None:
        super().__init__(str(proxy), status)
        self.proxy = proxy
        self.status = status
        self.known = known


def is_excluded(no_proxy: Iterable[str], authority: Authority) -> bool:
    """Return whether one of the entries of ``NO_PROXY``, all in lower case, matches *authority*.

    A name matches itself and all names below it, with a leading dot only the latter. An address or
    a network (``10.0.0.0/8``) matches hosts that are written as addresses; names are not resolved.
    ``:PORT`` restricts a name or address to that port. ``*`` matches all. Other entries are
    ignored.
    """
    return any(_means(entry, authority) for entry in no_proxy)


def _means(entry: str, authority: Authority) -> bool:
    if entry == "*":
        return True
    address = address_of(authority.host)
    if "/" in entry:
        try:
            network = ip_network(entry, strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    name, port = _split(entry)
    if port is not None and port != str(authority.port):
        return False
    if address is not None:
        return address == address_of(name)
    host = authority.host.removesuffix(".")
    if name.startswith("."):
        return host.endswith(name) and host != name
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str | None]:
    """Split off the port, if there is one; an IPv6 address with a port has brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":") or None
    name, colon, port = entry.partition(":")
    return (name, port) if colon and ":" not in port else (entry, None)


@frozen
class Proxies:
    """Which proxy is used for one host of an upstream, and for the servers that it redirects to."""

    settings: HostSettings
    egress: EgressSettings

    def choose(self, scheme: str, authority: Authority) -> ProxySettings | None:
        """Return the proxy for *authority* and a URL with *scheme*; None: no proxy.

        The host's own proxy is also used for its redirects and token server. ``NO_PROXY`` then
        excludes other hosts only: a proxy that is configured for a host is always used.
        """
        proxy = self.settings.proxy
        if proxy == DIRECT:
            return None
        if isinstance(proxy, ProxySettings) and authority == Authority.of_upstream(self.settings):
            return proxy
        if is_excluded(self.egress.no_proxy, authority):
            return None
        if isinstance(proxy, ProxySettings):
            return proxy
        return self.egress.https_proxy if scheme == "https" else self.egress.http_proxy
