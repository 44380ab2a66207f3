"""Text for the access log, made safe: escaped or replaced, bounded, without secrets."""

from __future__ import annotations

import re

from oci_registry.spec.errors import InternalError, RegistryError
from oci_registry.spec.texts import one_line

LONGEST = 512
"""The maximum number of bytes that are shown of anything that a client has sent."""
LONGEST_REASON = 2000
"""The maximum length in characters of the reason of an error."""
# As in http://USER:PASSWORD@HOST/, as sent to forward proxies, and in HOST alone.
_USER = re.compile(rb"^((?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?)[^/]*@")
_USER_OF_REGISTRY = re.compile(rb"((?:^|&)ns=)[^&]*(?:@|%40)")
# Fields without "=" too: an escaped one may hold a name and a value.
_UNKNOWN_FIELD = re.compile(rb"((?:^|&)(?!(?:ns|n|last|artifactType)=)(?:[^=&]*=)?)[^&]+")

# The same in the text of errors, some of which comes from servers. Signed URLs have their signature
# in the query.
_IN_REASONS = (
    (re.compile(r"//[^/\s@'\"]*@"), "//***@"),
    # Text from clients is quoted, and its first slashes may have been reduced to one.
    (re.compile(r"(['\"]/?)[^/\s:'\"]*:[^/\s'\"]*@(?!sha(?:256|512):)"), r"\1***@"),
    (re.compile(r"\?(?=[^\s'\"=]{1,100}=)[^\s'\"]+"), "?***"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{16,}", re.I), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*"), "***"),
    (re.compile(r"\b([\w-]{0,40}(?:password|token|secret|signature)=)[^\s&,;]+", re.I), r"\1***"),
)


def without_secrets(uri: bytes) -> bytes:
    """Return a URI without possible secrets: credentials, and the values of unknown query fields."""
    if b"?" not in uri and b"@" not in uri:
        return uri
    path, mark, query = uri.partition(b"?")
    query = _USER_OF_REGISTRY.sub(rb"\1***@", query)
    return _USER.sub(rb"\1***@", path) + mark + _UNKNOWN_FIELD.sub(rb"\1***", query)


def shown(raw: bytes) -> str:
    """Return bytes as one line of printable ASCII without quotes."""
    text = raw[:LONGEST].decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return ascii(text)[1:-1].replace('"', "\\x22")


def reason_of(error: Exception) -> str:
    """Return the error in the access log: code and message, or type and text of a defect.

    That of an `InternalError` is its cause, which is not shown to the client.
    """
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(cause, InternalError):
        cause = cause.__cause__
    if isinstance(cause, RegistryError):
        return f"{cause.code}: {cause.message}"
    return f"{InternalError.code}: {type(cause).__name__}: {cause}"


def shown_reason(reason: str) -> str:
    """Return the reason of an error as one line of printable characters, without possible secrets."""
    text = reason[:LONGEST_REASON]
    for pattern, replacement in _IN_REASONS:
        text = pattern.sub(replacement, text)
    return one_line(text)
