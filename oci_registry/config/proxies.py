"""Proxies, and exceptions from them."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote

from oci_registry.config.credentials import make_credentials
from oci_registry.config.settings import Credentials, ProxySettings
from oci_registry.spec.errors import NameInvalid
from oci_registry.spec.reference import parse_host
from oci_registry.spec.urls import PORTS, split_authority

_ACCEPTED = "must be http://[USER:PASSWORD@]HOST[:PORT] or https://..."


def parse_proxy(text: str) -> ProxySettings:
    """Return the proxy at a URL; the default port is that of the scheme.

    Credentials in it are percent-encoded. `ValueError` says what is accepted and contains nothing
    of ``text``, since any part of it may be a password.
    """
    scheme, separator, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if separator and scheme.startswith("socks"):
        raise ValueError(f"SOCKS proxies are not supported: {_ACCEPTED}")
    if not separator or scheme not in PORTS:
        raise ValueError(_ACCEPTED)
    userinfo, at, host = rest.rpartition("@")
    credentials = _parse_userinfo(userinfo) if at else None
    try:
        name, port = split_authority(parse_host(host.removesuffix("/")))
    except NameInvalid:
        raise ValueError(f"{_ACCEPTED}: HOST[:PORT] is missing, or something follows it") from None
    return ProxySettings(
        host=name,
        port=PORTS[scheme] if port is None else port,
        tls=scheme == "https",
        credentials=credentials,
    )


def _parse_userinfo(text: str) -> Credentials:
    if set("@/?#\\") & set(text):
        raise ValueError(
            "special characters in user name and password must be percent-encoded (@ as %40, / as %2F)"
        )
    username, colon, password = text.partition(":")
    if not colon:
        raise ValueError(f"{_ACCEPTED}: a user name needs a password")
    try:
        credentials = make_credentials(
            unquote(username, errors="strict"),
            unquote(password, errors="strict"),
            one_line=True,
        )
    except UnicodeDecodeError:
        raise ValueError("user name and password are not UTF-8 after percent-decoding") from None
    if credentials.ambiguous:
        raise ValueError("the username contains a colon")
    return credentials


def parse_exception(text: str) -> str:
    """Return an item of ``NO_PROXY`` in its canonical form.

    That is ``*`` for everything, an IP address or network as `ipaddress` writes it, ``host``, or
    ``.domain`` for names below it (``*.domain`` is the same), in lower case and with a port if
    there is one. Raises `ValueError` for anything else.
    """
    lowered = text.lower()
    if lowered == "*":
        return lowered
    bracketed = lowered.startswith("[") and lowered.endswith("]")
    try:
        if "/" in lowered:
            return str(ipaddress.ip_network(lowered, strict=False))
        # A zone ("fe80::1%eth0") is part of no URL.
        if "%" not in lowered:
            return str(ipaddress.ip_address(lowered[1:-1] if bracketed else lowered))
    except ValueError:
        pass
    below = lowered.startswith((".", "*."))
    try:
        host = parse_host(lowered.partition(".")[2] if below else lowered)
    except NameInvalid:
        raise ValueError(
            f"{text[:40]!a} is not a host, a domain, an address, a network or *"
        ) from None
    return f".{host}" if below else host
