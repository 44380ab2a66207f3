"""URLs in the form that treq takes.

When one is sent, hyperlink encodes what is not allowed in a request, and nothing else. hyperlink is not
needed before that, so this is not a part of `urls`.
"""

from __future__ import annotations

import re

from hyperlink import EncodedURL

from oci_registry.spec.urls import BadAddress

_PLAIN = re.compile(
    r"https?://(?![^/]*xn--)[a-z0-9.-]+(?::[0-9]+)?/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*"
    r"(?:\?(?:[A-Za-z0-9._~!$'()*,;:@/?&=-]|%[0-9A-F]{2})*)?"
)


class _PlainURL(EncodedURL):
    """A URL that is ASCII already, as most are; hyperlink would take long to find that out."""

    def to_uri(self) -> EncodedURL:
        """Return the URL in ASCII."""
        return self


class _AddressURL(EncodedURL):
    """A URL whose host is an IPv6 address or has an underscore, which hyperlink cannot encode."""

    def to_uri(self) -> EncodedURL:
        """Return the URL in ASCII."""
        plain = EncodedURL.from_text(self.replace(host="address").to_text()).to_uri()
        return plain.replace(host=self.host)


def encoded(url: str) -> EncodedURL:
    """Return a URL as treq takes it; raise `BadAddress` if it is invalid."""
    try:
        if _PLAIN.fullmatch(url) is not None:
            return _PlainURL.from_text(url)
        parsed = EncodedURL.from_text(url)
        if ":" in parsed.host or ("_" in parsed.host and parsed.host.isascii()):
            parsed = _AddressURL.from_text(url)
        # Treq will do the same, and has no error of its own for a name that cannot be encoded.
        parsed.to_uri()
    except ValueError as error:
        raise BadAddress(str(error)) from None
    if not parsed.host:
        raise BadAddress("it has no host")
    return parsed
