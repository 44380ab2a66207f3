"""Signed schema 1 manifests, made as libtrust makes them."""

from __future__ import annotations

import base64
import json


def encode(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def protected(length: object, tail: object) -> str:
    """The protected header of a signature."""
    header = {"formatLength": length, "formatTail": tail, "time": "2020-01-01T00:00:00Z"}
    return encode(json.dumps(header).encode())


def signed(payload: bytes, signatures: int = 1, more: str = "") -> bytes:
    """A JSON object with signatures put before its last brace, and ``more`` before these."""
    # Without the last brace, and the white space before and after it.
    length = len(payload.rstrip().removesuffix(b"}").rstrip())
    signature = {
        "header": {"alg": "ES256", "jwk": {"kty": "EC"}},
        "signature": encode(b"signature"),
        "protected": protected(length, encode(payload[length:])),
    }
    put = f',{more}\n   "signatures": {json.dumps([signature] * signatures, indent=3)}\n}}'
    return payload[:length] + put.encode()


def schema_1(*layers: str) -> bytes:
    """What is signed: a schema 1 manifest of layers with these digests."""
    document = {
        "schemaVersion": 1,
        "name": "old/app",
        "tag": "v1",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer} for layer in layers],
        "history": [{"v1Compatibility": json.dumps({"id": "a", "created": "b"})} for _ in layers],
    }
    return json.dumps(document, indent=3).encode()
