"""Which token servers may see an upstream's credentials.

The realm comes from the upstream's answer, and whoever can forge one answer could name a server of
their own; so credentials go to the upstream's own host, or within its registrable domain, to the
token server that a public registry is documented to have, and to those that the operator has named.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from publicsuffixlist import PublicSuffixList

_PORTS = {"https": 443, "http": 80}
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
        target = urlsplit(urljoin(upstream_url, realm) if realm.startswith("/") else realm)
        usable = bool(target.hostname) and target.port != 0
    except ValueError:
        return None
    if target.scheme not in _PORTS or not usable:
        return None
    return target._replace(fragment="").geturl()


def server_of(realm: str) -> str:
    """Return the token server of a realm as ``host[:port]``, as the key ``token_servers`` has it."""
    return urlsplit(realm).netloc.rpartition("@")[2].lower()


def realm_is_trusted(realm: str, upstream_url: str, token_servers: Collection[str] = ()) -> bool:
    """Whether credentials for the upstream at *upstream_url* may be sent to *realm*.

    *token_servers*: ``host[:port]`` of those that the operator has allowed for it; without a port
    the scheme's own is meant. Never from https to plain http, never to a URL with its own credentials.
    """
    try:
        target, origin = urlsplit(realm), urlsplit(upstream_url)
        target_host, origin_host = target.hostname, origin.hostname
        allowed = _is_allowed(target, token_servers)
    except ValueError:
        return False
    if not target_host or not origin_host or target.username is not None:
        return False
    if target.scheme not in _PORTS or (origin.scheme == "https" and target.scheme != "https"):
        return False
    if allowed or target_host == origin_host or _is_known_pair(target, origin):
        return True
    if _is_address(target_host) or _is_address(origin_host):
        return False
    suffixes = _suffixes()
    domain = suffixes.privatesuffix(origin_host)
    return domain is not None and domain == suffixes.privatesuffix(target_host)


def _is_allowed(target: SplitResult, token_servers: Collection[str]) -> bool:
    place = (target.hostname, target.port or _PORTS.get(target.scheme))
    for server in token_servers:
        one = urlsplit(f"//{server}")
        if (one.hostname, one.port or _PORTS.get(target.scheme)) == place:
            return True
    return False


def _is_known_pair(target: SplitResult, origin: SplitResult) -> bool:
    """Whether both are of a public registry, as it is documented: over https, at the default port."""
    if {target.scheme, origin.scheme} != {"https"} or {target.port, origin.port} - {None, 443}:
        return False
    host = origin.hostname or ""
    return any(
        target.hostname == server and registry.fullmatch(host) is not None
        for registry, server in _KNOWN_PAIRS
    )
