"""The token of the admin API, and how one that was sent is compared with it."""

from __future__ import annotations

import hashlib
import hmac
import re

_BEARER = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)


class AdminToken:
    """The token that requests must have. Only its hash is kept."""

    def __init__(self, token: str) -> None:
        self._hash = _hashed(token.encode())

    def replace(self, token: str) -> None:
        """Accept this one instead, from now on."""
        self._hash = _hashed(token.encode())

    def accepts(self, authorization: bytes) -> bool:
        """Whether this is an ``Authorization`` with the token. Takes the same time for all tokens."""
        match = _BEARER.fullmatch(authorization.strip())
        sent = b"" if match is None else match[1]
        return hmac.compare_digest(_hashed(sent), self._hash)


def _hashed(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
