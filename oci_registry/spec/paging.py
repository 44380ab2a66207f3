"""The queries of paged lists: ``n``, ``last``, and other fields that an upstream's links contain.

The query of an upstream's link is passed on to the client in a link of the daemon, and comes back
with the next request, so the daemon keeps no state. The field ``ns`` is never passed on: each
server on the way sets its own.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_plus

from oci_registry.spec.links import BadLink

MAX_PAGE_QUERY = 2048
"""The maximum length in characters of the query of a page."""
MAX_PAGE_FIELDS = 12
"""The maximum number of its fields."""
MAX_LAST = 2048
"""The maximum length of ``last`` in characters; in some registries it is a token and not a tag."""

_QUERY_CHARACTERS = "!$%&'()*+,-./:;=?@_~"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

Fields = tuple[tuple[str, str], ...]


def clean_query(query: str) -> str:
    """Return ``query`` without ``ns``, with percent-encoding where it is needed (RFC 3986 section 3.4).

    Nothing else changes, and the order stays. Bytes that are not text are surrogates
    (``surrogateescape``). Raises `BadLink` if it is too long or has too many fields.
    """
    pieces = _pieces(query)
    cleaned = "&".join(pieces)
    if len(cleaned) > MAX_PAGE_QUERY or len(pieces) > MAX_PAGE_FIELDS:
        raise BadLink(
            f"the query of a page has at most {MAX_PAGE_QUERY} characters "
            f"and {MAX_PAGE_FIELDS} fields"
        )
    return cleaned


def opaque_query(query: str) -> str | None:
    """Return ``query`` cleaned, if it has other fields than ``n`` and ``last``."""
    keys = {_key(piece) for piece in _pieces(query)}
    return clean_query(query) if keys - {"n", "last", ""} else None


def page_begin(query: str) -> Fields:
    """Return the fields of a clean query that say where its page begins: all but ``n`` and empty ones."""
    pairs = (piece.partition("=")[::2] for piece in query.split("&"))
    fields = ((unquote_plus(key), unquote_plus(value)) for key, value in pairs)
    return tuple(sorted((key, value) for key, value in fields if value and key != "n"))


def next_query(target: str) -> str:
    """Return the cleaned query of a link's ``target``, without an ``n`` of 0; raise `BadLink` if it has none.

    The rest of the target is ignored: the next page has the path of this one, on the same host.
    """
    query = clean_query(target.partition("#")[0].partition("?")[2])
    # Servers that write it mean "no limit"; others read it as "no tags".
    pieces = [piece for piece in query.split("&") if piece not in ("n=0", "n=")]
    if not page_begin(query):
        raise BadLink("the link to its next page does not say where that page begins")
    return "&".join(pieces)


def _pieces(query: str) -> list[str]:
    escaped = quote(query, safe=_QUERY_CHARACTERS, errors="surrogateescape")
    escaped = _BAD_ESCAPE.sub("%25", escaped)
    return [piece for piece in escaped.split("&") if piece and _key(piece) != "ns"]


def _key(piece: str) -> str:
    return unquote_plus(piece.partition("=")[0])
