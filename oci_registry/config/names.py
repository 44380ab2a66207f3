"""Names of registries in the configuration."""

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
    """The location of an upstream: ``host[:port]``, the path before its repositories, and its lookup.

    See `oci_registry.config.settings.HostSettings`.
    """

    host: str
    path: str = ""
    absolute: bool = False


def parse_location(text: str) -> Location:
    """Return the location ``host[:port][/path]``, with the host in lower case.

    The path is one or more components of a repository. The name may have underscores, as those of
    compose services do, and a dot at its end. `ValueError` says what is accepted, without
    credentials in the text.
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
    """Return the location in a URL without its scheme and without the path of the API."""
    host, _, path = text.partition("/")
    path = path.strip("/").removeprefix("v2/").removesuffix("/v2")
    return f"{host}/{path}" if path not in ("", "v2") else host


def parse_server(text: str, *, lenient: bool = False) -> str:
    """Return the ``host[:port]`` in ``text`` as `parse_host` does; `ValueError` has the reason."""
    try:
        return parse_host(text, lenient=lenient)
    except NameInvalid as error:
        raise ValueError(error.message) from None


def _registry_host(text: str) -> str:
    """Return the registry host in ``text``, in lower case; raise `ValueError` with the reason.

    It may have underscores and a dot at its end.
    """
    try:
        return parse_server(text, lenient=True)
    except ValueError:
        ascii_form = _in_ascii(text)
        if ascii_form is None:
            raise
        raise ValueError(f"{shown(text)} is not ASCII: did you mean {ascii_form!r}?") from None


def _in_ascii(text: str) -> str | None:
    """Return the ASCII form of an international name (RFC 3490)."""
    try:
        return None if text.isascii() else parse_server(text.encode("idna").decode(), lenient=True)
    except ValueError:
        return None


def parse_namespace(text: str) -> str:
    """Return the namespace in ``text``, in lower case and without aliases.

    It is a host, or a single path component ("mirror", "my_mirror"), since clients can send that
    first in a path. Raises `ValueError` as `parse_location`.
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
    """Return the server in ``text``, ``http://host[:port]`` or ``https://host[:port]``, in lower case.

    A host without a scheme means https. `ValueError` says what is accepted, without text that may
    contain credentials.
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
    """Return the usual name of a registry that has several; other hosts in their canonical form."""
    canonical = canonical_host(host)
    return ALIASES.get(canonical, canonical)
