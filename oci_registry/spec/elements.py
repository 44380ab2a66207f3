"""One array of a JSON object that may be large, parsed in short steps.

``json.loads`` blocks all threads while it runs, and nested arrays take many times their size in
memory. Here only the elements of the array are built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator

from attrs import frozen


@frozen
class ArrayLimits:
    """Limits for parsing.

    *small*: bytes of a document that is parsed at once. *window*: bytes of a larger document that
    are parsed in one step. *string*: the most bytes of a string in it. *elements*: the most
    elements of the array. *tokens*: the most strings and brackets, not counting plain arrays of
    strings.
    """

    small: int = 64 * 1024
    window: int = 64 * 1024
    string: int = 1024 * 1024
    elements: int = 500_000
    tokens: int = 1_000_000


_STEP = 2000
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)
_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+\{")
_COLON = re.compile(rb"[ \t\r\n]*+:")
_QUOTE, _ARRAY, _OBJECT = b'"', b"[", b"{"


class ArrayReader:
    """Parses the elements of the array *key* at the top level of an object.

    `elements` is None until an array is found. `present` is whether the key exists at all, and
    `media_type` is the object's ``mediaType``. Only strings and objects count as elements. Other
    parts of the document are not checked, except for brackets and quotes.
    """

    def __init__(
        self,
        body: bytes,
        key: str,
        limits: ArrayLimits = ArrayLimits(),
    ) -> None:
        self.elements: list[str | dict[str, object]] | None = None
        self.present = False
        self.media_type: str | None = None
        self._body = body
        self._key = key
        self._limits = limits
        self._name: str | None = None
        self._found: list[str | dict[str, object]] | None = None
        self._depth = 0
        self._began: int | None = None

    def steps(self) -> Iterator[None]:
        """Parse one window in each step; raise ValueError if it is not a JSON object, or exceeds limits."""
        if len(self._body) <= self._limits.small:
            self._read_at_once()
        else:
            yield from self._read_in_steps()
        if len(self.elements or ()) > self._limits.elements:
            raise ValueError("it has too many elements")

    def _read_at_once(self) -> None:
        value = _loads(self._body)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        media_type, array = value.get("mediaType"), value.get(self._key)
        self.present = self._key in value
        self.media_type = media_type if isinstance(media_type, str) else None
        if isinstance(array, list):
            self.elements = [item for item in array if isinstance(item, str | dict)]

    def _read_in_steps(self) -> Iterator[None]:
        if _BEGIN.match(self._body) is None:
            raise ValueError("it is not a JSON object")
        tokens, count = _tokens(self._body, 0, self._limits), 0
        while (token := next(tokens, None)) is not None:
            start, stop = token
            count += 1
            if count % _STEP == 0:
                yield
            if count > self._limits.tokens or len(self._found or ()) > self._limits.elements:
                raise ValueError("it has too many elements")
            if start == stop:
                yield
            elif stop - start > 1:
                self._take_string(start, stop)
            elif self._body[start : start + 1] in (_ARRAY, _OBJECT):
                if self._open(start):
                    stop = yield from self._plain_strings(stop)
                    tokens = _tokens(self._body, stop, self._limits)
            elif self._close(stop):
                if self._body[stop:].strip(b" \t\r\n"):
                    raise ValueError("there is data after the JSON object")
                return
        raise ValueError("the JSON object is incomplete")

    def _take_string(self, start: int, stop: int) -> None:
        if self._depth == 2 and self._found is not None:
            self._found.append(_string(self._body[start:stop]))
        if self._depth != 1:
            return
        text = _string(self._body[start:stop])
        if _COLON.match(self._body, stop) is not None:
            self._name = text
            if text == self._key:
                # If the key is repeated, the last one counts, as in other JSON parsers.
                self.present, self.elements = True, None
        elif self._name == "mediaType":
            self.media_type = text

    def _open(self, start: int) -> bool:
        """Go one level deeper; return whether that is where the array begins."""
        self._depth += 1
        bracket = self._body[start : start + 1]
        if self._depth == 2 and self._name == self._key and bracket == _ARRAY:
            self._found = []
            return True
        if self._depth == 3 and self._found is not None and bracket == _OBJECT:
            self._began = start
        return False

    def _close(self, stop: int) -> bool:
        """Go back one level; return whether the object has ended."""
        self._depth -= 1
        if self._depth == 2 and self._began is not None and self._found is not None:
            element = _loads(self._body[self._began : stop])
            if isinstance(element, dict):
                self._found.append(element)
            self._began = None
        elif self._depth == 1 and self._found is not None:
            self.elements, self._found = self._found, None
        return self._depth <= 0

    def _plain_strings(self, at: int) -> Generator[None, None, int]:
        """Parse a run of strings at once, which is ten times as fast; return the position of its end.

        A piece that ends within a token is not valid JSON when it is put into brackets.
        """
        assert self._found is not None
        while len(self._found) <= self._limits.elements:
            last = self._body.rfind(b'",', at, at + self._limits.window)
            if last < 0:
                break
            try:
                strings = json.loads(b"[" + self._body[at : last + 1] + b"]")
            except (ValueError, RecursionError):
                break
            if not all(isinstance(item, str) for item in strings):
                break
            self._found.extend(strings)
            at = last + 2
            yield
        return at


def _tokens(body: bytes, at: int, limits: ArrayLimits) -> Iterator[tuple[int, int]]:
    """Yield where strings and brackets begin and end, and an empty token after each window."""
    window = limits.window
    while at < len(body):
        following = at + window
        for match in _TOKEN.finditer(body, at, at + window):
            start, stop = match.span()
            if stop - start == 1 and body[start : start + 1] == _QUOTE:
                following = start  # its end is beyond the window
                break
            yield start, stop
        if following > at:
            window = limits.window
        elif window >= limits.string or at + window >= len(body):
            raise ValueError("a string in it is too long, or incomplete")
        else:
            window *= 2
        at = following
        yield at, at


def _string(literal: bytes) -> str:
    if b"\\" in literal:
        return str(_loads(literal))
    return literal[1:-1].decode("utf-8")


def _loads(text: bytes) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
