"""Text from clients, made safe for the log: escaped, bounded, without secrets."""

from __future__ import annotations

import re

LONGEST = 512
"""The most bytes that are shown of anything."""
# As in http://USER:PASSWORD@HOST/, as sent to forward proxies, and in HOST alone.
_USER = re.compile(rb"^((?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?)[^/]*@")
_USER_OF_REGISTRY = re.compile(rb"((?:^|&)ns=)[^&]*(?:@|%40)")
# Fields without "=" too: an escaped one may hold a name and a value.
_UNKNOWN_FIELD = re.compile(rb"((?:^|&)(?!(?:ns|n|last|artifactType)=)(?:[^=&]*=)?)[^&]+")


def without_secrets(uri: bytes) -> bytes:
    """Return a URI without possible secrets: credentials, and the values of unknown query fields."""
    path, mark, query = uri.partition(b"?")
    query = _USER_OF_REGISTRY.sub(rb"\1***@", query)
    return _USER.sub(rb"\1***@", path) + mark + _UNKNOWN_FIELD.sub(rb"\1***", query)


def shown(raw: bytes) -> str:
    """Return bytes as one line of printable ASCII without quotes."""
    text = raw[:LONGEST].decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return ascii(text)[1:-1].replace('"', "\\x22")
