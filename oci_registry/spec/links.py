"""The ``Link`` header of paged lists (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from attrs import frozen

MAX_VALUE = 8192
"""The maximum length of one header line in characters."""

_SKIP = re.compile(r"[ \t,]*+")
_TARGET = re.compile(r"<([^<>]*+)>")
# Without brackets, the target ends where its parameters begin, or at a comma that is not a part of it.
_BARE_TARGET = re.compile(r'[^ \t;,<>"]++(?:,++[^ \t;,<>"]++)*+')
_PARAM = re.compile(
    r"[ \t]*+;[ \t]*+"
    r"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]++)"
    r'(?:[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^ \t",;<>]++))?+)?+)?+',
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# Up to the next comma outside quotes and brackets; if one is never closed, it extends to the end.
_ITEM_REST = re.compile(
    r'(?:[^",<]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|<[^>]*+(?:>|\Z))*+',
    re.DOTALL,
)
_BLANK = re.compile(r"[\x00-\x20\x7f]")
_URI_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"


class BadLink(ValueError):
    """A link cannot be followed; the message has the reason."""


@frozen
class _Link:
    """A link. *target* is None if it is malformed, *relations* is empty if the link has none."""

    target: str | None
    relations: tuple[str, ...] = ()


def parse_next_link(values: Iterable[str]) -> str | None:
    """Return the target of the first link to the ``next`` page; ``None`` if there is none.

    A link without a relation counts as one to the next page if no other link does, since a list has
    no other links. The target is not changed, may be relative, and is not trusted; it has no blanks
    or control characters. Raises `BadLink` if it is unclear whether there is a next page.
    """
    links = [link for value in values for link in _parse_line(value)]
    said = [link.target for link in links if "next" in link.relations]
    unsaid = [link.target for link in links if not link.relations]
    for target in (*said, *unsaid):
        if target is not None:
            return target
    if any(link.target is None for link in links):
        raise BadLink("its Link header is malformed")
    return None


def format_next_link(target: str) -> str:
    """Return the ``Link`` to ``target``, with percent-encoding where it is needed."""
    return f'<{quote(target, safe=_URI_CHARACTERS, errors="replace")}>; rel="next"'


def _parse_line(value: str) -> Iterator[_Link]:
    if len(value) > MAX_VALUE:
        yield _Link(None)
        return
    position = _end(_SKIP.match(value))
    while position < len(value):
        target = _TARGET.match(value, position) or _BARE_TARGET.match(value, position)
        if target is None:
            yield _Link(None)
        else:
            relations, position = _parse_params(value, target.end())
            yield _Link(_cleaned(target[target.lastindex or 0]), relations)
        position = _end(_SKIP.match(value, _end(_ITEM_REST.match(value, position))))


def _cleaned(target: str) -> str | None:
    # Some servers escape it as in HTML.
    target = target.strip(" \t").replace("&amp;", "&")
    return target if target and _BLANK.search(target) is None else None


def _parse_params(value: str, position: int) -> tuple[tuple[str, ...], int]:
    """Return the relations in the parameters of a link, and where the parameters end."""
    relations: tuple[str, ...] | None = None
    while (match := _PARAM.match(value, position)) is not None:
        position = match.end()
        name, quoted, token = match.groups()
        # If "rel" is repeated, the first one counts (section 3.3).
        if name is not None and name.lower() == "rel" and relations is None:
            text = _ESCAPED.sub(r"\1", quoted) if quoted is not None else token or ""
            relations = tuple(text.lower().split())
    return relations or (), position


def _end(match: re.Match[str] | None) -> int:
    # No pattern used here can fail: all of them match the empty string.
    assert match is not None
    return match.end()
