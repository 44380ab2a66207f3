"""URLs (RFC 3986): their parts, references and redirects.

They are split and joined with urllib, which leaves every byte of path and query unchanged: a signed
URL must be passed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urljoin, urlsplit

from attrs import frozen

PORTS: Mapping[str, int] = MappingProxyType({"https": 443, "http": 80})
"""The schemes there are, and the port of each where a URL has none."""


class BadAddress(ValueError):
    """A URL is invalid, or its host is."""


class BadRedirect(BadAddress):
    """A redirect cannot be followed; the text says why: ``sent a redirect without a valid Location``."""


@frozen
class Url:
    """An absolute URL of http or https, without a fragment.

    ``authority`` is ``host[:port]`` as written, ``host`` is in lower case and without the brackets
    of an IPv6 address, and ``port`` is that of the scheme if there is none. ``user`` is whether it
    has a user name.
    """

    text: str
    scheme: str
    authority: str
    host: str
    port: int
    path: str
    query: str
    user: bool = False

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the parts of a URL; raise `BadAddress` if it is invalid or has another scheme."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadAddress(str(error)) from None
        if parts.scheme not in PORTS:
            raise BadAddress("its scheme is neither http nor https")
        if not host:
            raise BadAddress("it has no host")
        if port is None:
            port = PORTS[parts.scheme]
        elif port == 0:
            raise BadAddress("the port is invalid")
        user, at, authority = parts.netloc.rpartition("@")
        if "[" in user or "]" in user:
            # RFC 3986 section 3.2.1; they could be mistaken for the brackets of an address.
            raise BadAddress("the user name is invalid")
        if parts.fragment:
            parts = parts._replace(fragment="")
        return cls(
            parts.geturl(), parts.scheme, authority, host, port, parts.path, parts.query, bool(at)
        )

    @property
    def origin(self) -> str:
        """Return scheme, host and port, always with the port (RFC 6454 section 4)."""
        return f"{self.scheme}://{authority(self.host, self.port)}"

    def join(self, reference: str) -> Url:
        """Return the URL of a reference (RFC 3986 section 5); raise `BadAddress` if it has none."""
        try:
            return Url.parse(urljoin(self.text, reference))
        except ValueError as error:
            raise BadAddress(str(error)) from None

    def redirected(self, location: str | None) -> Url:
        """Return where a redirect with this ``Location`` leads (RFC 9110 section 10.2.2).

        Credentials in it are dropped. Raises `BadRedirect`, also for a redirect from https to http.
        """
        try:
            if not location:
                raise BadAddress("it has no Location")
            target = self.join(location)
        except BadAddress:
            raise BadRedirect("sent a redirect without a valid Location") from None
        if (self.scheme, target.scheme) == ("https", "http"):
            raise BadRedirect("redirects from https to http")
        return target.without_user() if target.user else target

    def without_user(self) -> Url:
        """Return the URL without credentials."""
        return Url.parse(urlsplit(self.text)._replace(netloc=self.authority).geturl())


def authority(host: str, port: int) -> str:
    """A host and a port as the authority of a URL (RFC 3986 section 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_authority(text: str) -> tuple[str, int | None]:
    """Return the name or address in ``host[:port]`` without brackets, and its port if it has one.

    ``text`` must have passed `oci_registry.spec.reference.parse_host`.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port[1:]) if port else None
    host, colon, port = text.partition(":")
    return host, int(port) if colon else None


def query_of(url: str) -> str:
    """Return the query of a URL that `Url.parse` accepts."""
    return urlsplit(url).query


def with_query(url: str, fields: str) -> str:
    """Return the URL with more fields at the end of its query."""
    if not fields:
        return url
    return f"{url.removesuffix('?')}{'&' if query_of(url) else '?'}{fields}"
