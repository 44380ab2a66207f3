"""Names of S3 buckets, and prefixes of keys in them.

Patterns match the whole text, in linear time, and after its length has been checked.
"""

from __future__ import annotations

import re

from oci_registry.spec.errors import shown

#: A key has at most 1024 bytes; this leaves enough for each of our keys.
MAX_PREFIX = 512

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_HOST_NAME = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_PART = re.compile(r"[A-Za-z0-9!_.*'()-]+")


def parse_bucket(text: str) -> str:
    """Return ``text`` if it is the name of a bucket, else raise `ValueError`.

    Upper case and underscores are allowed: old buckets of AWS have them, and other servers allow
    them.
    """
    if _BUCKET.fullmatch(text) is None or ".." in text:
        raise ValueError(
            f"{shown(text)} is not the name of a bucket: 3 to 63 letters, digits, '.', '-' and "
            "'_', a letter or digit first and last, are allowed"
        )
    return text


def is_host_name(bucket: str) -> bool:
    """Return whether the bucket can be a part of the server's host name in a URL."""
    return _HOST_NAME.fullmatch(bucket) is not None


def parse_prefix(text: str) -> str:
    """Return ``text`` as a prefix for keys, without slashes at its end, or raise `ValueError`."""
    if len(text) > MAX_PREFIX:
        raise ValueError(f"is longer than {MAX_PREFIX} characters")
    prefix = text.removesuffix("/")
    for part in prefix.split("/"):
        if not part:
            raise ValueError(f"{shown(text)} begins with a slash or contains two in a row")
        if part in (".", ".."):
            raise ValueError(f"{shown(text)} contains {part!r}, which is not allowed in a key")
        if _PART.fullmatch(part) is None:
            raise ValueError(
                f"{shown(text)} is not a valid prefix of keys: letters, digits, slashes and any of "
                "! - _ . * ' ( ) are allowed"
            )
    return prefix
