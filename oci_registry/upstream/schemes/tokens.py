"""A token server's response: a token and its lifetime (distribution's token specification)."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime

from attrs import define, field

DEFAULT_LIFETIME = 60.0
"""Seconds a token lives if its server does not say (distribution's token specification)."""
MAX_LIFETIME = 24 * 3600.0
MAX_TOKEN = 64 * 1024
"""The maximum length of a token in characters."""
_MARGIN = 15.0
_TOKEN = re.compile(rf"[\x21-\x7e]{{1,{MAX_TOKEN}}}")
_MAX_DATE = 64


@define
class Token:
    """A token, used until *expires* (seconds on the clock), which is a little before its end.

    *reused*: it was sent again, after the request that it was fetched for, so it may be outdated.
    *refused*: the upstream has rejected it, and it is not sent any more.
    """

    value: str = field(repr=False)
    expires: float
    reused: bool = False
    refused: bool = False


def read_token(body: bytes, now: float) -> Token | None:
    """Return the token in a server's response, None if there is no valid one."""
    try:
        answer = json.loads(body)
        value = answer.get("token") or answer.get("access_token")
        lifetime = _lifetime(answer.get("expires_in"))
        issued_at = answer.get("issued_at")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        return None
    lifetime -= _age(issued_at, lifetime, now)
    # A quarter of a short lifetime, so that a token of a minute is still used more than once.
    margin = min(_MARGIN, lifetime / 4)
    return Token(value, now + lifetime - margin)


def _lifetime(value: object) -> float:
    """Return the seconds in ``expires_in``; the default if that is no number."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    if seconds == 0 or math.isnan(seconds):
        return DEFAULT_LIFETIME
    return min(max(seconds, 0.0), MAX_LIFETIME)


def _age(issued_at: object, lifetime: float, now: float) -> float:
    """Return the seconds since ``issued_at`` (RFC 3339).

    0 if it is in the future, or longer ago than the token's lifetime: then the clocks differ.
    """
    if not isinstance(issued_at, str) or len(issued_at) > _MAX_DATE:
        return 0.0
    try:
        moment = datetime.fromisoformat(issued_at.strip().upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        age = now - moment.timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return age if 0 < age < lifetime else 0.0
