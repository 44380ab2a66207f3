"""The token of the admin API, and its comparison with tokens of requests."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re

_BEARER = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/]+={0,2}) *", re.IGNORECASE)


class AdminToken:
    """The token that requests must have. Only its hash is kept."""

    def __init__(self, token: str) -> None:
        self._hash = _hashed(token.encode())

    def replace(self, token: str) -> None:
        """Accept another token in place of the current one."""
        self._hash = _hashed(token.encode())

    def accepts(self, authorization: bytes) -> bool:
        """Whether this is an ``Authorization`` with the token. Takes the same time for all tokens.

        ``Bearer`` has the token itself. ``Basic``, which browsers send, has it as the password of any user.
        """
        return hmac.compare_digest(_hashed(_sent(authorization.strip())), self._hash)


def _sent(authorization: bytes) -> bytes:
    """Return the token that was sent; empty if there is none."""
    match = _BEARER.fullmatch(authorization)
    if match is not None:
        return match[1]
    match = _BASIC.fullmatch(authorization)
    if match is None:
        return b""
    try:
        _, _, password = binascii.a2b_base64(match[1], strict_mode=True).partition(b":")
    except ValueError:
        return b""
    return password


def _hashed(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
