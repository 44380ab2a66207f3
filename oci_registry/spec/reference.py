"""The grammars of repositories, tags, references and registry hosts.

Repositories, tags and references: OCI distribution spec, section "Pulling manifests". Hosts: RFC
1123 names and RFC 3986 section 3.2.2 IP literals with an optional port, as clients write them in an
image reference. Patterns match the whole text, in linear time, and after its length has been
checked.
"""

from __future__ import annotations

import ipaddress
import re

from attrs import field, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import NameInvalid, ReferenceInvalid, shown

MAX_REPOSITORY = 255
"""The maximum length of a repository name in characters; clients refuse longer ones themselves."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ANY_CASE = re.compile(_REPOSITORY.pattern.replace("a-z", "a-zA-Z"))
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_TAG = 128

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LENIENT_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_MAX_NAME = 253
_MAX_LABEL = 63
_MAX_HOST = _MAX_NAME + len(":65535")


@frozen
class Tag:
    """The name of a tag; a malformed one cannot be made."""

    name: str = field()

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise ReferenceInvalid("a tag must not be empty")
        if len(self.name) > _MAX_TAG:
            raise ReferenceInvalid(f"a tag has at most {_MAX_TAG} characters, not {len(self.name)}")
        if _TAG.fullmatch(self.name) is None:
            raise ReferenceInvalid(
                f"{shown(self.name)} is not a tag: letters, digits, '.', '_' and '-' are allowed, but "
                "the first must not be '.' or '-'"
            )

    def __str__(self) -> str:
        return self.name


Reference = Tag | Digest
"""What follows ``/manifests/``."""


def parse_repository(text: str, *, upper_case: bool = False) -> str:
    """Return ``text`` if it is a repository name of at most 255 characters, else raise `NameInvalid`.

    The specification allows lower case only. With *upper_case*, upper-case letters are allowed too,
    since some registries have them; each counts as two characters, because the store needs two.
    """
    if not text:
        raise NameInvalid("a repository name must not be empty")
    if len(text) > MAX_REPOSITORY:
        raise NameInvalid(
            f"a repository name has at most {MAX_REPOSITORY} characters, not {len(text)}"
        )
    if upper_case and text != text.lower():
        length = len(text) + sum(letter.isupper() for letter in text)
        if length > MAX_REPOSITORY:
            raise NameInvalid(
                f"a repository name has at most {MAX_REPOSITORY} characters, not {length}, "
                "where an upper-case letter counts as two"
            )
    if (_ANY_CASE if upper_case else _REPOSITORY).fullmatch(text) is None:
        if _ANY_CASE.fullmatch(text) is not None:
            raise NameInvalid(f"{shown(text)} is not a repository name: it has upper-case letters")
        raise NameInvalid(
            f"{shown(text)} is not a repository name: components of a-z and 0-9, joined by one "
            "'.', one or two '_' or any '-', are separated by single slashes"
        )
    return text


def parse_tag(text: str) -> str:
    """Return the tag in ``text``, else raise `ReferenceInvalid`."""
    return Tag(text).name


def parse_reference(text: str) -> Tag | Digest:
    """Return a digest (or raise `DigestInvalid`) if there is a colon in ``text``, else a tag."""
    return Digest.parse(text) if ":" in text else Tag(text)


def content_key(host: str, repository: str, digest: Digest | str) -> str:
    """Return a key for content of a repository: a string, which the garbage collector does not traverse."""
    return f"{host} {repository}@{digest}"


def parse_host(text: str, *, lenient: bool = False) -> str:
    """Return the registry host in ``text`` in lower case; raise `NameInvalid` with the reason.

    A host is a domain name, an IPv4 address or an IPv6 address in brackets, with an optional port.
    Text that resolvers treat as an address although it is not in the usual form (``127.1``,
    ``0x7f.0.0.1``, ``2130706433``) is refused, because it could bypass checks of addresses.

    With *lenient*, any name is allowed that the DNS allows (RFC 2181 section 11): with underscores
    in its labels and one dot at its end, which is kept.
    """
    if not text:
        raise NameInvalid("a registry host must not be empty")
    if len(text) > _MAX_HOST:
        raise _not_a_host(text, f"it is longer than {_MAX_HOST} characters")
    if _PRINTABLE.fullmatch(text) is None:
        raise _not_a_host(text, "it contains spaces, control characters or non-ASCII")
    if "://" in text:
        raise _not_a_host(text, "it has a scheme")
    if "/" in text or "\\" in text:
        raise _not_a_host(text, "it has a slash")
    if "@" in text:
        raise _not_a_host(text, "it has credentials")
    lowered = text.lower()
    if lowered.startswith("["):
        address, bracket, port = lowered[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _not_a_host(text, "the bracket is not closed, or not followed by a port")
        _check_ipv6(text, address)
        port = port[1:] if port else "1"
    else:
        name, colon, port = lowered.partition(":")
        _check_name(text, name.removesuffix(".") if lenient else name, lenient=lenient)
        port = port if colon else "1"
    if _PORT.fullmatch(port) is None or int(port) > 65535:
        raise _not_a_host(text, "the port is not a number from 1 to 65535")
    return lowered


def canonical_host(host: str) -> str:
    """Return a host from `parse_host` without the port of https and without a dot at the end of its name."""
    host = host.removesuffix(":443")
    name, colon, port = host.partition(":")
    return host if host.startswith("[") else f"{name.removesuffix('.')}{colon}{port}"


def looks_like_host(component: str) -> bool:
    """Return whether the first component of an image name looks like a registry host.

    It does if it is a valid host and has a dot, a port or brackets, or is ``localhost``: the rule
    by which clients distinguish ``quay.io/x`` from ``library/x``. A dot at its end does not count,
    and a name with an underscore and without a port is a repository.
    """
    name, colon, _ = component.partition(":")
    bare = name.removesuffix(".")
    if (
        "." not in bare
        and not colon
        and not component.startswith("[")
        and bare.lower() != "localhost"
    ):
        return False
    try:
        parse_host(component, lenient=bool(colon) or bare != name)
    except NameInvalid:
        return False
    return True


def _check_name(text: str, name: str, *, lenient: bool) -> None:
    if not name:
        raise _not_a_host(text, "the name is missing")
    if len(name) > _MAX_NAME:
        raise _not_a_host(text, f"the name is longer than {_MAX_NAME} characters")
    if name.endswith("."):
        raise _not_a_host(text, "it ends with a dot")
    labels = name.split(".")
    for label in labels:
        if not label:
            raise _not_a_host(text, "there is nothing between two dots")
        if len(label) > _MAX_LABEL:
            raise _not_a_host(text, f"a label is longer than {_MAX_LABEL} characters")
        if (_LENIENT_LABEL if lenient else _LABEL).fullmatch(label) is None:
            inside = "hyphens and underscores" if lenient else "hyphens"
            raise _not_a_host(text, f"a label is made of letters, digits and, inside, {inside}")
    if _NUMBER.fullmatch(labels[-1]) is not None:
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise _not_a_host(text, "it ends in a number, but is not an IPv4 address") from None


def _check_ipv6(text: str, address: str) -> None:
    # A zone ("fe80::1%eth0") names a network interface of this machine, which clients cannot know.
    if "%" in address:
        raise _not_a_host(text, "an address with a zone (%) is not supported")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise _not_a_host(text, "there is no IPv6 address between the brackets") from None


def _not_a_host(text: str, reason: str) -> NameInvalid:
    # Nothing before an "@" is repeated: it may be a password.
    _, at, tail = text.rpartition("@")
    return NameInvalid(f"{shown('...@' + tail if at else text)} is not a registry host: {reason}")
