"""Which token servers may see an upstream's credentials.

The realm comes from the upstream's answer, and whoever can forge one answer could name a server of
their own; so credentials go to the upstream's own host, or within its registrable domain.
"""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList


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


def realm_is_trusted(realm: str, upstream_url: str) -> bool:
    """Whether credentials for the upstream at *upstream_url* may be sent to *realm*.

    Never from https to plain http, never to a URL with its own credentials.
    """
    try:
        target, origin = urlsplit(realm), urlsplit(upstream_url)
        target_host, origin_host = target.hostname, origin.hostname
    except ValueError:
        return False
    if not target_host or not origin_host or target.username is not None:
        return False
    if target.scheme not in ("https", "http") or (
        origin.scheme == "https" and target.scheme != "https"
    ):
        return False
    if target_host == origin_host:
        return True
    if _is_address(target_host) or _is_address(origin_host):
        return False
    suffixes = _suffixes()
    domain = suffixes.privatesuffix(origin_host)
    return domain is not None and domain == suffixes.privatesuffix(target_host)
