"""Reads the file of ``--ca-file``: the certificate authority of the mirror."""

from __future__ import annotations

import os
import re
import ssl

from oci_registry.config.files import read_file
from oci_registry.setup.nouns import Authority

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KEY = "PRIVATE KEY-----"


def read_authority(path: str) -> Authority:
    """Return the authority in a PEM file; `ValueError` has the reason, and nothing of the content.

    Clients get copies that anyone can read, so a private key in it is refused.
    """
    if _CONTROL.search(path):
        raise ValueError("has a control character in its name")
    try:
        data = read_file(path).data
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    try:
        text = data.decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError):
        raise ValueError(f"{path} contains no PEM certificates") from None
    if _KEY in text:
        raise ValueError(f"{path} contains a private key, which clients must not get")
    return Authority(os.path.abspath(path), text)
