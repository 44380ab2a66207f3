"""The ``Link`` header by which lists are paged (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MAX_VALUE = 8192
"""The most characters of one header line; a longer one is dropped."""

_SKIP = re.compile(r"[ \t,]*+")
_TARGET = re.compile(r"<([^<>]*+)>")
_PARAM = re.compile(
    r"[ \t]*+;[ \t]*+"
    r"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]++)"
    r'(?:[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^ \t",;<>]++))?+)?+)?+'
)
_ESCAPED = re.compile(r"\\(.)")
# Up to the next comma outside quotes and brackets; what is never closed swallows the rest.
_ITEM_REST = re.compile(r'(?:[^",<]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|<[^>]*+(?:>|\Z))*+')
_URI = re.compile(r"[\x21-\x7e]++")
_URI_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"


def parse_next_link(values: Iterable[str]) -> str | None:
    """The target of the first link to the ``next`` page in all lines of the header.

    The target is as it came: perhaps relative, and not to be trusted.  Malformed links are
    passed over; ``None`` if no link is left.
    """
    for value in values:
        for target, relations in _parse_line(value):
            if "next" in relations:
                return target
    return None


def format_next_link(target: str) -> str:
    """The ``Link`` to ``target``, in which what no URI may hold is percent-encoded."""
    return f'<{quote(target, safe=_URI_CHARACTERS, errors="replace")}>; rel="next"'


def _parse_line(value: str) -> Iterator[tuple[str, list[str]]]:
    if len(value) > MAX_VALUE:
        return
    position = _end(_SKIP.match(value))
    while position < len(value):
        target = _TARGET.match(value, position)
        if target is not None:
            relations, position = _parse_params(value, target.end())
            if relations is not None and _URI.fullmatch(target[1]) is not None:
                yield target[1], relations
        position = _end(_SKIP.match(value, _end(_ITEM_REST.match(value, position))))


def _parse_params(value: str, position: int) -> tuple[list[str] | None, int]:
    """The relations in the parameters of a link, and where these end."""
    relations: list[str] | None = None
    while (match := _PARAM.match(value, position)) is not None:
        position = match.end()
        name, quoted, token = match.groups()
        # Of several "rel" the first counts (section 3.3).
        if name is not None and name.lower() == "rel" and relations is None:
            text = _ESCAPED.sub(r"\1", quoted) if quoted is not None else token or ""
            relations = text.lower().split()
    return relations, position


def _end(match: re.Match[str] | None) -> int:
    # None of the patterns asked with this can fail: they all match the empty string.
    assert match is not None
    return match.end()
