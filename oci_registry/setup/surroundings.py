"""The environment of a client: a proxy."""

from __future__ import annotations

import ipaddress

from oci_registry.config.options import OptionReader
from oci_registry.config.proxies import parse_exception
from oci_registry.setup.nouns import Mirror
from oci_registry.spec.urls import Url


def proxy_note(mirror: Mirror, options: OptionReader) -> str | None:
    """Return a note if a client with this environment uses a proxy for the mirror, without its URL.

    The rules are those of Go, in which clients are written: no proxy is used for the machine
    itself, and the scheme of the URL selects the proxy.
    """
    url = Url.parse(mirror.url)
    given = options.variable(f"{url.scheme}_proxy", f"{url.scheme.upper()}_PROXY")
    if given is None or _is_local(url.host):
        return None
    exceptions = options.variable("no_proxy", "NO_PROXY")
    if exceptions and any(_means(each, url) for each in exceptions[1].replace(",", " ").split()):
        return None
    return (
        f"{given[0]} is set here: if the client has it too, it asks the proxy for the mirror, and falls back "
        f"to the registry when that fails; add {url.host} to the client's NO_PROXY"
    )


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _means(text: str, url: Url) -> bool:
    """Return whether an item of ``NO_PROXY`` matches the host of a URL."""
    try:
        item = parse_exception(text)
    except ValueError:
        return False
    address = _address(url.host)
    if item in {"*", url.host} or (address is not None and item == str(address)):
        return True
    if "/" in item:
        return address is not None and address in ipaddress.ip_network(item)
    name, _, port = item.rpartition(":")
    if name and port.isdigit():
        if int(port) != url.port:
            return False
        item = name.removeprefix("[").removesuffix("]")
    return url.host == item or (
        address is None and url.host.endswith(item if item.startswith(".") else f".{item}")
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
