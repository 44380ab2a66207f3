"""Parses the addresses to listen at, as operators write them, into Twisted's endpoint descriptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from oci_registry.config.names import parse_server
from oci_registry.spec.errors import system_reason

BACKLOG = 1024
"""Connections that may wait to be accepted; Twisted's own default is 50."""
_BUILT_IN = frozenset({"tcp", "unix", "ssl"})
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WITH_PORT = frozenset({"tcp", "tcp6", "ssl"})
# The port in an endpoint description: an argument without a name or with this one. Colons that a
# backslash escapes separate nothing.
_PORT_ARGUMENT = re.compile(r"(?:^|(?<!\\):)(?:port=)?([0-9]+)(?=:|$)")
_SEPARATOR = re.compile(r"(?<!\\):")
_EQUALS = re.compile(r"(?<!\\)=")
_ANY = "0.0.0.0"  # noqa: S104 - nothing is bound to it here
# The arguments that Twisted accepts after a path; before anything else, a colon is a part of the path.
_UNIX_ARGUMENT = re.compile(r"[A-Za-z]+=.*|[0-7]{3,4}")
_FORMS = "HOST:PORT, [IPV6]:PORT, unix:PATH or an endpoint such as ssl:8443:certKey=FILE"


def parse_listen(text: str) -> str:
    """Return the Twisted endpoint description for a place to listen.

    Accepted are ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT``, ``PORT``, ``unix:PATH`` and every
    endpoint description that this Twisted knows. Port 0 means any free port. A path may have
    colons. Only the port of an endpoint description is checked. ValueError has the reason.
    """
    text = text.strip()
    head, colon, rest = text.partition(":")
    # Listing the types may import every plugin of Twisted, so it is done only for possible types.
    is_kind = bool(colon) and head != "localhost" and _KIND.fullmatch(head) is not None
    if is_kind and (head in _BUILT_IN or head in _kinds()):
        if not rest:
            raise ValueError(f"has nothing after {head}:")
        port = _PORT_ARGUMENT.search(rest)
        if takes_port(text) and port is not None:
            _port(port.group(1))
        return _unix(rest) if head == "unix" else text
    if text.startswith("["):
        return _ipv6(text)
    if not colon:
        return f"tcp:{_port(text)}"
    if ":" in rest:
        if _is_ipv6(text) or _is_ipv6(text.rpartition(":")[0]):
            raise ValueError("an IPv6 address needs brackets, as in [::1]:80")
        raise ValueError(
            f"{head[:20]!a} is not a type of endpoint; known types: {', '.join(sorted(_kinds()))}"
        )
    if not head:
        return f"tcp:{_port(rest)}"
    return f"tcp:{_port(rest)}:interface={parse_server(head)}"


def default_place(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return where to listen if ``LISTEN`` is not set either, and the source of that."""
    port = environ.get("PORT", "").strip()
    return ("PORT", f"{_ANY}:{port}") if port else ("--listen", f"{_ANY}:80")


def split_places(text: str) -> list[str]:
    """Return the places in a list separated by blanks; a path after ``unix:`` may contain blanks.

    Text after such a path belongs to it, unless it looks like a place: unless it has a slash before
    any colon, or neither a colon nor only digits.
    """
    places: list[str] = []
    for found in re.finditer(r"\S+\s*", text):
        piece = found.group()
        head, colon, _ = piece.strip().partition(":")
        continues = "/" in head or not (colon or head.isdigit())
        if continues and places and places[-1].startswith("unix:"):
            places[-1] += piece
        else:
            places.append(piece)
    return [place.strip() for place in places]


def _unix(rest: str) -> str:
    """Return the description of a socket at a path, with colons and equals signs escaped."""
    path, *others = _SEPARATOR.split(rest)
    while others and not all(_UNIX_ARGUMENT.fullmatch(other) for other in others):
        path += f"\\:{others.pop(0)}"
    if "/" in path.partition("=")[0]:
        path = re.sub(r"(?<!\\)=", r"\\=", path)
    return ":".join(["unix", path, *others])


def same_place(one: str, other: str) -> bool:
    """Whether two endpoint descriptions are known to conflict."""
    first, second = address_of(one), address_of(other)
    if first is None or second is None:
        return one == other
    # Port 0 is another free port each time.
    if first[:2] != second[:2] or first[1] == "0":
        return False
    interfaces = {first[2], second[2]}
    if len(interfaces) == 1 or "::" in interfaces:
        return True
    return _ANY in interfaces and not any(":" in interface for interface in interfaces)


def takes_port(endpoint: str) -> bool:
    """Return whether an endpoint description is for a port, and not for a path or an unknown form."""
    return endpoint.partition(":")[0] in _WITH_PORT


def is_socket(endpoint: str) -> bool:
    """Return whether an endpoint description is for a UNIX socket at a path."""
    return endpoint.partition(":")[0] == "unix"


def mode_of(endpoint: str) -> int | None:
    """Return the permissions that the description of a UNIX socket gives; None if it gives none."""
    for argument in _SEPARATOR.split(endpoint)[2:]:
        name, equals, value = argument.rpartition("=")
        if (name == "mode" or not equals) and re.fullmatch(r"[0-7]{3,4}", value):
            return int(value, 8)
    return None


def address_of(endpoint: str) -> tuple[str, str, str] | None:
    """Return the address of an endpoint, ``None`` if it is unknown.

    It is ``port`` with port and interface, or ``unix`` with the path and an empty text.
    """
    kind, *arguments = _SEPARATOR.split(endpoint)
    if kind != "unix" and not takes_port(endpoint):
        return None
    parts = [[_unescape(part) for part in _EQUALS.split(each, maxsplit=1)] for each in arguments]
    named = {part[0]: part[1] for part in parts if len(part) == 2}
    # The certificates follow the port of an ssl endpoint.
    first, second, *_ = [*(part[0] for part in parts if len(part) == 1), "", ""]
    if kind == "unix":
        return kind, named.get("address") or first, ""
    interface = named.get("interface") or ("" if kind == "ssl" else second)
    return "port", named.get("port") or first, interface or ("::" if kind == "tcp6" else _ANY)


def _unescape(argument: str) -> str:
    return re.sub(r"\\(.)", r"\1", argument)


def explain(error: Exception) -> str:
    """Return an error message for an endpoint description that cannot be used."""
    match error:
        case OSError(filename=str(name), strerror=str()):
            return f"{name}: {system_reason(error)}"
        case TypeError():
            # As in "_parseTCP() got an unexpected keyword argument 'x'".
            return re.sub(r"^[\w.<>]+\(\) ", "the endpoint ", str(error))
        case LookupError():
            # Only the sockets that systemd hands over are looked up by number or name.
            return "no such socket was passed to this process"
        case ValueError() if str(error):
            return str(error)
    return f"is not usable: {str(error) or type(error).__name__}"


def _kinds() -> frozenset[str]:
    """Return the kinds that plugins of Twisted add."""
    return frozenset(str(parser.prefix) for parser in getPlugins(IStreamServerEndpointStringParser))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"{text[:20]!a} is not a port; expected: {_FORMS}")
    return int(text)


def _ipv6(text: str) -> str:
    address, bracket, port = text[1:].partition("]:")
    if not bracket:
        raise ValueError("has no port after the bracket")
    if not _is_ipv6(address):
        raise ValueError("there is no IPv6 address between the brackets")
    # With or without TLS, which is decided when the options are known.
    from twisted.internet.endpoints import quoteStringArgument  # noqa: PLC0415

    return f"tcp6:{_port(port)}:interface={quoteStringArgument(str(IPv6Address(address)))}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def with_backlog(endpoint: str) -> str:
    """Add a backlog that is long enough for a cluster whose nodes all pull at once."""
    if takes_port(endpoint) and "backlog=" not in endpoint:
        return f"{endpoint}:backlog={BACKLOG}"
    return endpoint
