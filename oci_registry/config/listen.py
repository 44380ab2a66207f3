"""The forms in which people say where to listen, and what Twisted calls them."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

_BUILT_IN = frozenset({"tcp", "unix", "ssl"})
_HOST = re.compile(r"[A-Za-z0-9.-]{0,253}")
_FORMS = "HOST:PORT, [IPV6]:PORT, unix:PATH or an endpoint such as ssl:8443:certKey=FILE"


def _kinds() -> frozenset[str]:
    parsers = getPlugins(IStreamServerEndpointStringParser)
    return _BUILT_IN | {str(parser.prefix) for parser in parsers}


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"{text[:20]!a} is not a port; expected is {_FORMS}")
    return int(text)


def parse_listen(text: str) -> str:
    """Return the Twisted endpoint description for one place to listen at.

    Accepted: ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT``, ``PORT``, ``unix:PATH`` and every endpoint
    description that this Twisted knows. Port 0 means any free one. ValueError says what is wrong.
    """
    text = text.strip()
    head, colon, rest = text.partition(":")
    if colon and head in _kinds():
        if not rest:
            raise ValueError(f"{text!a} lacks what follows {head}:")
        return text
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]:")
        try:
            host = str(IPv6Address(address))
        except ValueError:
            raise ValueError(f"{text[:80]!a} is not [IPV6]:PORT") from None
        if not bracket:
            raise ValueError(f"{text[:80]!a} lacks a port")
        return f"tcp6:{_port(port)}:interface={quoteStringArgument(host)}"
    if not colon:
        return f"tcp:{_port(text)}"
    if not _HOST.fullmatch(head):
        raise ValueError(f"{text[:80]!a} is none of {_FORMS}")
    return f"tcp:{_port(rest)}" + (f":interface={head}" if head else "")
