"""Existing files, which are checked before anything is added."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

from oci_registry.setup.nouns import Unusable

_PLACE = re.compile(r"\(at (line [0-9]+, column [0-9]+)\)")


def texts(value: object, path: str, key: str) -> list[str]:
    """Return the list of texts at ``key`` of the file, empty if it is missing; else raise `Unusable`."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unusable(path, f"{key} must be a list of texts")
    return list(value)


def url_first(url: str, urls: list[str]) -> list[str]:
    """Return ``urls`` with ``url``: at its present position, else at the beginning."""
    if url in [known.rstrip("/").lower() for known in urls]:
        return urls
    return [url, *urls]


def quoted(text: str) -> str:
    """Return a text without control characters as a basic string of TOML."""
    return json.dumps(text, ensure_ascii=False)


def parse_toml(text: str, path: str, fault: str) -> Mapping[str, object]:
    """Return a parsed TOML file; raise `Unusable` with ``fault`` and the place if it is malformed."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        where = f": {place[1]}" if place else ""
        raise Unusable(path, f"{fault}{where}") from None
    except (RecursionError, ValueError):
        raise Unusable(path, "cannot be used: a value is malformed") from None
