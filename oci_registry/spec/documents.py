"""JSON objects that are not trusted, parsed at a bounded cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NoReturn

MAX_VALUES = 50_000
"""The approximate maximum number of values in a document: parsing 4 MiB of brackets takes half a second."""
_LONGEST_INTEGER = 20
_SPACE = b" \t\r\n"
_OPENING = re.compile(rb"[ \t\r\n]*\{")


def read_object(raw: bytes) -> Mapping[str, object] | None:
    """Return the JSON object in ``raw``; ``None`` if it is not one.

    An object with more than about `MAX_VALUES` values, or nested too deeply, is not parsed and
    counts as empty. Bytes that are not UTF-8 become U+FFFD, as in the parsers of clients. Numbers
    that are not integers, or are too long to be a size, become ``None``.
    """
    if _OPENING.match(raw) is None:
        return None
    # Each value except the first of its container follows a comma.
    if raw.count(b",") + raw.count(b"{") + raw.count(b"[") > MAX_VALUES:
        return _unread(raw)
    try:
        document = json.loads(
            raw.decode("utf-8", "replace"),
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_refuse,
        )
    except RecursionError:
        return _unread(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _unread(raw: bytes) -> Mapping[str, object] | None:
    return {} if raw.rstrip(_SPACE).endswith(b"}") else None


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else None


def _no_number(_: str) -> None:
    return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
