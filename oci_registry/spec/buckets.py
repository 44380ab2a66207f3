"""The grammars of buckets and of the keys in them, as S3 servers agree on them.

Matched whole, in linear time, and after the length has been checked.
"""

from __future__ import annotations

import re

from oci_registry.spec.errors import shown

#: A key has at most 1024 bytes; what is left over is enough for every key of ours.
MAX_PREFIX = 512

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_HOST_NAME = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_PART = re.compile(r"[A-Za-z0-9!_.*'()-]+")


def parse_bucket(text: str) -> str:
    """``text`` itself if it is the name of a bucket, else `ValueError`.

    Upper case and underscores are old names of AWS, and new ones of other servers.
    """
    if _BUCKET.fullmatch(text) is None or ".." in text:
        raise ValueError(
            f"{shown(text)} is not the name of a bucket: 3 to 63 letters, digits, '.', '-' and "
            "'_', a letter or digit first and last, are allowed"
        )
    return text


def is_host_name(bucket: str) -> bool:
    """Whether the name of a bucket can stand before the server's in a URL."""
    return _HOST_NAME.fullmatch(bucket) is not None


def parse_prefix(text: str) -> str:
    """What ``text`` puts before every key, without a slash at its end; `ValueError` otherwise."""
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
