"""Names of registries as people write them into the configuration."""

from __future__ import annotations

from oci_registry.config.settings import ALIASES
from oci_registry.spec.errors import NameInvalid, shown
from oci_registry.spec.reference import parse_host, parse_repository


def parse_registry_host(text: str) -> str:
    """The host of an upstream, ``host[:port]``, in lower case.

    `ValueError` says what to write instead, and never repeats credentials written into it.
    """
    stripped = text.strip()
    if "@" in stripped:
        raise ValueError("must be host[:port]; credentials belong into keys of their own")
    scheme, separator, rest = stripped.partition("://")
    if separator:
        bare = rest.partition("/")[0]
        hint = " and 'tls: false'" if scheme.lower() == "http" else ""
        raise ValueError(f"must be host[:port] without a scheme: write {bare!r}{hint}")
    try:
        return parse_host(stripped)
    except NameInvalid as error:
        raise ValueError(error.message) from None


def parse_namespace(text: str) -> str:
    """The source host that ``text`` means: lower case, and one name for a registry with aliases.

    Besides hosts, a single path component is a namespace too ("mirror", "my_mirror"), since
    clients can put it first in a path.  `ValueError` otherwise, as `parse_registry_host`.
    """
    lowered = text.strip().lower()
    if "/" not in lowered:
        try:
            return fold_alias(parse_repository(lowered))
        except NameInvalid:
            pass
    return fold_alias(parse_registry_host(lowered))


def parse_url(text: str) -> str:
    """The server in ``text``, ``http://host[:port]`` or ``https://host[:port]``, in lower case.

    A host alone means https.  `ValueError` says what is accepted, and never repeats what may hold
    credentials.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    scheme = scheme.lower() if separator else "https"
    host = rest.removesuffix("/")
    accepted = "must be http://HOST[:PORT] or https://HOST[:PORT]"
    if scheme not in ("http", "https"):
        raise ValueError(accepted)
    if "@" in host:
        raise ValueError(f"{accepted}; credentials belong into options of their own")
    if set("/?#\\") & set(host):
        raise ValueError(f"{accepted}, with nothing behind it")
    try:
        return f"{scheme}://{parse_host(host)}"
    except NameInvalid:
        raise ValueError(f"{accepted}: {shown(host)} is not HOST[:PORT]") from None


def split_port(host: str) -> tuple[str, int | None]:
    """The name or address in ``host``, without brackets, and its port, if it has one.

    ``host`` must have passed `oci_registry.spec.reference.parse_host`.
    """
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, int(port[1:]) if port else None
    name, colon, port = host.partition(":")
    return name, int(port) if colon else None


def fold_alias(host: str) -> str:
    """The one name of a registry that is known under several; other hosts as they are."""
    return ALIASES.get(host, host)
