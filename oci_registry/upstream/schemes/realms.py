"""Which token servers may receive an upstream's credentials.

The realm comes from the upstream's answer, and anyone who can forge an answer could name their own
server; so credentials go to the upstream's own host, or within its registrable domain, to the token
server that a public registry is documented to have, and to those that the operator has named.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from ipaddress import ip_address

from publicsuffixlist import PublicSuffixList

from oci_registry.spec.urls import PORTS, BadAddress, Url, split_authority

_PRINTABLE = re.compile(r"[\x21-\x7e]+")

# Public registries whose token server is in another domain, and that server, at its default port.
_KNOWN_PAIRS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Docker Hub: its challenges name auth.docker.io under each of its names.
    (re.compile(r"(index\.|registry-1\.)?docker\.io|registry\.hub\.docker\.com"), "auth.docker.io"),
    # NVIDIA NGC: https://nvcr.io/proxy_auth, and https://authn.nvidia.com/token for a user.
    (re.compile(r"nvcr\.io"), "authn.nvidia.com"),
    # Scaleway: https://api.scaleway.com/registry-internal/v1/regions/REGION/tokens.
    (re.compile(r"rg\.[a-z]{2}-[a-z]{3}\.scw\.cloud"), "api.scaleway.com"),
    # Red Hat: https://sso.redhat.com/auth/realms/rhcc/protocol/redhat-docker-v2/auth.
    (re.compile(r"registry\.redhat\.io"), "sso.redhat.com"),
)


@cache
def _suffixes() -> PublicSuffixList:
    """The Public Suffix List; some megabytes, so loaded only when a realm is on another host."""
    return PublicSuffixList()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def resolve_realm(realm: str, upstream_url: str) -> str | None:
    """Return the URL of the token server that a challenge of *upstream_url* names, None if it is none.

    A path alone is one on the upstream itself; nothing else that is relative is a realm. The URL has
    no fragment.
    """
    if not _PRINTABLE.fullmatch(realm):
        return None
    try:
        return (
            Url.parse(upstream_url).join(realm) if realm.startswith("/") else Url.parse(realm)
        ).text
    except BadAddress:
        return None


def server_of(realm: str) -> str:
    """Return the token server of a realm as ``host[:port]``, as the key ``token_servers`` has it."""
    return Url.parse(realm).authority.lower()


def realm_is_trusted(realm: str, upstream_url: str, token_servers: Collection[str] = ()) -> bool:
    """Whether credentials for the upstream at *upstream_url* may be sent to *realm*.

    *token_servers*: ``host[:port]`` of those that the operator has allowed for it; without a port
    the scheme's own is meant. Never from https to plain http, never to a URL with its own credentials.
    """
    try:
        target, origin = Url.parse(realm), Url.parse(upstream_url)
    except BadAddress:
        return False
    if target.user or (origin.scheme, target.scheme) == ("https", "http"):
        return False
    if target.host == origin.host or _is_allowed(target, token_servers):
        return True
    if _is_known_pair(target, origin):
        return True
    if _is_address(target.host) or _is_address(origin.host):
        return False
    suffixes = _suffixes()
    domain = suffixes.privatesuffix(origin.host)
    return domain is not None and domain == suffixes.privatesuffix(target.host)


def _is_allowed(target: Url, token_servers: Collection[str]) -> bool:
    for server in token_servers:
        host, port = split_authority(server)
        if (host, port or PORTS[target.scheme]) == (target.host, target.port):
            return True
    return False


def _is_known_pair(target: Url, origin: Url) -> bool:
    """Whether both are of a public registry, as it is documented: over https, at the default port."""
    if {(url.scheme, url.port) for url in (target, origin)} != {("https", 443)}:
        return False
    return any(
        target.host == server and registry.fullmatch(origin.host) is not None
        for registry, server in _KNOWN_PAIRS
    )
