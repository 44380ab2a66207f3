"""The Priority header (RFC 9218); only the lowest urgency has a meaning here."""

from __future__ import annotations

import re

_BACKGROUND = re.compile(r"(?:.*,)?[ \t]*u[ \t]*=[ \t]*7[ \t]*(?:[,;].*)?", re.DOTALL)


def is_background(value: str | None) -> bool:
    """Whether a request is one that nobody waits for: its urgency is 7 (``u=7``)."""
    return value is not None and _BACKGROUND.fullmatch(value) is not None
