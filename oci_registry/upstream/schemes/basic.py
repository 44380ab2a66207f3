"""HTTP Basic authentication (RFC 7617)."""

from __future__ import annotations

from base64 import b64encode

from oci_registry.config.settings import Credentials


def basic_authorization(credentials: Credentials) -> str:
    """Return the value of the ``Authorization`` header."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + b64encode(pair).decode("ascii")
