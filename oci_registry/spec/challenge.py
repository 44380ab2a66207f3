"""Challenges in ``WWW-Authenticate`` (RFC 9110 section 11.6.1).

The header is not trusted: nothing in it raises an error, and reading it takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType

from attrs import field, frozen

MAX_VALUE = 8192
"""The maximum length of one header line in characters; a longer one is dropped."""
MAX_LINES = 16
"""The maximum number of header lines that are read."""

_SKIP = re.compile(r"[ \t,]*+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_EQUALS = re.compile(r"[ \t]*+=[ \t]*+")
_SPACE = re.compile(r"[ \t]++")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_TOKEN68 = re.compile(r"[0-9A-Za-z\-._~+/]++=*+(?=[ \t]*+(?:,|\Z))")
_UNQUOTED = re.compile(r'[^\x00-\x20\x7f",]++')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Up to the next comma outside quotes; a quote that is never closed extends to the end.
_ITEM_REST = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+', re.DOTALL)


@frozen
class Challenge:
    """An authentication scheme that a server offers, with its parameters; all names are in lower case."""

    scheme: str
    params: Mapping[str, str] = field(hash=False)

    def without(self, parameter: str) -> Challenge:
        """Return the challenge without one of its parameters."""
        rest = {name: value for name, value in self.params.items() if name != parameter}
        return Challenge(self.scheme, MappingProxyType(rest))


def read_lines(values: Iterable[bytes]) -> tuple[str, ...]:
    """Return the lines of the header as text, at most `MAX_LINES` of them.

    Bytes that are not UTF-8 become surrogates, so that a parameter can be sent on unchanged.
    """
    return tuple(value.decode("utf-8", "surrogateescape") for value in islice(values, MAX_LINES))


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges in all lines of the header, in order.

    Challenges and parameters that cannot be parsed are dropped. If a parameter is repeated, the first
    one counts. A value without quotes ends before a space or a comma. A token68 (as in Negotiate) is
    ignored, since no supported scheme uses one.
    """
    return [challenge for value in values for challenge in _parse_line(value)]


def _parse_line(value: str) -> Iterator[Challenge]:
    if len(value) > MAX_VALUE:
        return
    scheme: str | None = None
    params: dict[str, str] = {}
    position = _end(_SKIP.match(value))
    while position < len(value):
        token = _TOKEN.match(value, position)
        if token is not None:
            position = token.end()
            if _EQUALS.match(value, position) is None:
                if scheme is not None:
                    yield Challenge(scheme, MappingProxyType(params))
                scheme, params = token.group().lower(), {}
                position = _after_scheme(value, position)
                continue
            name = token.group().lower()
            parsed = _parse_value(value, position)
            if parsed is not None:
                text, position = parsed
                if scheme is not None and _CONTROL.search(text) is None:
                    params.setdefault(name, text)
        position = _next_item(value, position)
    if scheme is not None:
        yield Challenge(scheme, MappingProxyType(params))


def _after_scheme(value: str, position: int) -> int:
    """Return where the first parameter of a scheme starts, or the next item if it has none."""
    space = _SPACE.match(value, position)
    if space is None:
        return _next_item(value, position)
    position = space.end()
    token = _TOKEN.match(value, position)
    if token is not None and _parse_value(value, token.end()) is not None:
        return position
    token68 = _TOKEN68.match(value, position)
    return _next_item(value, position if token68 is None else token68.end())


def _parse_value(value: str, position: int) -> tuple[str, int] | None:
    """Return the ``= value`` of a parameter, and where it ends."""
    equals = _EQUALS.match(value, position)
    if equals is None:
        return None
    quoted = _QUOTED.match(value, equals.end())
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    if _TOKEN.match(value, equals.end()) is None:
        return None
    # A URL or a scope is no token and should be in quotes, but some leave these out.
    unquoted = _UNQUOTED.match(value, equals.end())
    return None if unquoted is None else (unquoted.group(), unquoted.end())


def _next_item(value: str, position: int) -> int:
    return _end(_SKIP.match(value, _end(_ITEM_REST.match(value, position))))


def _end(match: re.Match[str] | None) -> int:
    # No pattern used here can fail: all of them match the empty string.
    assert match is not None
    return match.end()
