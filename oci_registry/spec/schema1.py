"""Signed schema 1 manifests of Docker, whose digest is that of the signed content.

Such a manifest is a JSON object into which ``signatures`` were inserted (a "JSON Web Signature", as
libtrust writes it). The protected header of each signature says how to remove them: keep the first
``formatLength`` bytes, and append the bytes in ``formatTail``. See "Image Manifest Version 2,
Schema 1" in the documentation of distribution.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

from oci_registry.spec.documents import read_object

MAX_SIGNATURES = 64
"""The maximum number of signatures of a manifest; registries make one."""
_MAX_PROTECTED = 4096
_BASE64URL = bytes.maketrans(b"-_+/", b"+/!!")


def payload(raw: bytes, document: Mapping[str, object]) -> bytes | None:
    """Return the signed content of ``raw``; ``None`` if it is not such a manifest.

    ``document`` is the parsed form of ``raw``. Besides the signed content, ``raw`` may contain
    ``signatures`` only, since the digest covers nothing else. Signatures are not verified: a cache
    does not know which keys are trusted.
    """
    signatures = document.get("signatures")
    if document.get("schemaVersion") != 1 or not isinstance(signatures, list):
        return None
    if len(signatures) > MAX_SIGNATURES:
        return None
    formats = {_format(signature) for signature in signatures}
    found = formats.pop() if len(formats) == 1 else None
    if found is None or found[0] > len(raw):
        return None
    length, tail = found
    signed = raw[:length] + tail
    said = {key: value for key, value in document.items() if key != "signatures"}
    return signed if read_object(signed) == said else None


def _format(signature: object) -> tuple[int, bytes] | None:
    """Return ``formatLength`` and ``formatTail`` of a signature."""
    if not isinstance(signature, dict):
        return None
    protected = _decode(signature.get("protected"))
    header = None if protected is None else read_object(protected)
    if header is None:
        return None
    length, tail = header.get("formatLength"), _decode(header.get("formatTail"))
    # True is an int to Python.
    if not isinstance(length, int) or isinstance(length, bool) or length <= 0 or tail is None:
        return None
    return length, tail


def _decode(text: object) -> bytes | None:
    """Return the bytes in unpadded base64url (RFC 7515 section 2)."""
    if not isinstance(text, str) or len(text) > _MAX_PROTECTED:
        return None
    encoded = text.encode("ascii", "replace").rstrip(b"=").translate(_BASE64URL)
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True)
    except binascii.Error:
        return None
