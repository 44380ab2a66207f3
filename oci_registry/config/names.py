"""Names of registries as people write them into the configuration."""

from __future__ import annotations

from attrs import frozen

from oci_registry.config.settings import ALIASES
from oci_registry.spec.errors import NameInvalid, shown
from oci_registry.spec.reference import canonical_host, parse_host, parse_repository
from oci_registry.spec.urls import PORTS

_NAME = "must be host[:port]"
_LOCATION = f"{_NAME} or host[:port]/path"


@frozen
class Location:
    """Where an upstream is: ``host[:port]``, the path before its repositories, and how to look it up.

    See `oci_registry.config.settings.HostSettings`.
    """

    host: str
    path: str = ""
    absolute: bool = False


def parse_location(text: str) -> Location:
    """Where an upstream is, ``host[:port][/path]``, the host in lower case.

    The path is one or more components of repositories.  The name may have underscores, as those of
    compose services do, and a dot at its end.  `ValueError` says what to write, and never
    repeats credentials written into it.
    """
    stripped = text.strip()
    _check_no_url(stripped, _LOCATION)
    named, _, path = stripped.partition("/")
    host = _registry_host(named)
    path = path.removesuffix("/")
    if path == "v2" or path.startswith("v2/") or path.endswith("/v2"):
        raise ValueError(f"{_LOCATION}, without v2: write {_without_api(stripped)!r}")
    try:
        path = parse_repository(path) if path else ""
    except NameInvalid as error:
        raise ValueError(f"the path after the host: {error.message}") from None
    name, colon, port = host.partition(":")
    absolute = name.endswith(".")
    return Location(f"{name.removesuffix('.')}{colon}{port}", path, absolute)


def _check_no_url(text: str, accepted: str) -> None:
    if "@" in text:
        raise ValueError(f"{accepted}; put credentials into username and password")
    scheme, separator, rest = text.partition("://")
    if separator:
        hint = " and 'tls: false'" if scheme.lower() == "http" else ""
        raise ValueError(f"{accepted} without a scheme: write {_without_api(rest)!r}{hint}")


def _without_api(text: str) -> str:
    """The location in a URL without its scheme, as far as it goes."""
    host, _, path = text.partition("/")
    path = path.strip("/").removeprefix("v2/").removesuffix("/v2")
    return f"{host}/{path}" if path not in ("", "v2") else host


def parse_server(text: str, *, lenient: bool = False) -> str:
    """The ``host[:port]`` in ``text``, as `parse_host` has it; `ValueError` says what is wrong."""
    try:
        return parse_host(text, lenient=lenient)
    except NameInvalid as error:
        raise ValueError(error.message) from None


def _registry_host(text: str) -> str:
    """The registry host in ``text``, in lower case, with underscores and a dot at its end if it has.

    Raises `ValueError` with the reason if there is none.
    """
    try:
        return parse_server(text, lenient=True)
    except ValueError:
        ascii_form = _in_ascii(text)
        if ascii_form is None:
            raise
        raise ValueError(f"{shown(text)} is not ASCII: did you mean {ascii_form!r}?") from None


def _in_ascii(text: str) -> str | None:
    """What stands for an international name in the DNS (RFC 3490), if it is one."""
    try:
        return None if text.isascii() else parse_server(text.encode("idna").decode(), lenient=True)
    except ValueError:
        return None


def parse_namespace(text: str) -> str:
    """The source host that ``text`` means: lower case, and one name for a registry with several.

    Besides hosts, a single path component is a namespace too ("mirror", "my_mirror"), since
    clients can put it first in a path.  `ValueError` otherwise, as `parse_location`.
    """
    lowered = text.strip().lower()
    _check_no_url(lowered, _NAME)
    if "/" in lowered:
        raise ValueError(f"{_NAME} without a path")
    try:
        return fold_alias(parse_repository(lowered))
    except NameInvalid:
        return fold_alias(_registry_host(lowered))


def parse_url(text: str) -> str:
    """The server in ``text``, ``http://host[:port]`` or ``https://host[:port]``, in lower case.

    A host alone means https.  `ValueError` says what is accepted, and never repeats what may hold
    credentials.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    scheme = scheme.lower() if separator else "https"
    host = rest.removesuffix("/")
    accepted = "must be http://HOST[:PORT] or https://HOST[:PORT]"
    if scheme not in PORTS:
        raise ValueError(accepted)
    if "@" in host:
        raise ValueError(f"{accepted}; credentials have options of their own")
    if set("/?#\\") & set(host):
        raise ValueError(f"{accepted}, with nothing after it")
    try:
        return f"{scheme}://{parse_host(host)}"
    except NameInvalid:
        raise ValueError(f"{accepted}: {shown(host)} is not HOST[:PORT]") from None


def fold_alias(host: str) -> str:
    """The one name of a registry that is known under several; other hosts in their canonical form."""
    canonical = canonical_host(host)
    return ALIASES.get(canonical, canonical)
