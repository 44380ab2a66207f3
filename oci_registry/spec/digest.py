"""Digests of content, and their verification (OCI image spec, "Digests").

Both registered algorithms are supported.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Self

from attrs import field, frozen

from oci_registry.spec.errors import DigestInvalid, shown

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]*")
_WRITTEN = re.compile(rb"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})")
_STEP = 256 * 1024


@frozen
class Digest:
    """A digest: ``sha256`` or ``sha512``, and lower-case hex.

    A malformed one cannot be made (`DigestInvalid`), so a digest is safe as a file name.
    """

    algorithm: str = field()
    encoded: str = field()

    def __attrs_post_init__(self) -> None:
        length = _HEX_LENGTH.get(self.algorithm)
        if length is None:
            raise DigestInvalid(
                f"the digest algorithm {shown(self.algorithm)} is unknown; known: {', '.join(_HEX_LENGTH)}"
            )
        if len(self.encoded) != length:
            raise DigestInvalid(
                f"a {self.algorithm} digest has {length} hex digits, not {len(self.encoded)}"
            )
        if _HEX.fullmatch(self.encoded) is None:
            raise DigestInvalid(
                f"a digest is written in lower-case hex, not {shown(self.encoded, 128)}"
            )

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest in ``algorithm:hex``; raise `DigestInvalid` with the reason."""
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise DigestInvalid(f"{shown(text)} is not a digest: it has no algorithm")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of ``data``; raise `DigestInvalid` if the algorithm is not supported."""
        known = algorithm in _HEX_LENGTH
        return cls(algorithm, _hash(algorithm, data).hexdigest() if known else "")


def _hash(algorithm: str, data: bytes = b"") -> hashlib._Hash:
    # Not in a table: hashlib need not be there before the first digest.
    return hashlib.sha256(data) if algorithm == "sha256" else hashlib.sha512(data)


def _escaped(text: bytes) -> bytes:
    r"""Return a pattern of ``text`` in a JSON string, each character as it is or as ``\u00XX``."""
    return b"".join(b"(?:%c|\\\\u00(?i:%02x))" % (code, code) for code in text)


_ESCAPED_HEX = rb"(?:[0-9a-f]|\\u00(?:3[0-9]|6[1-6]))"
_ESCAPED = re.compile(
    _escaped(b"sha")
    + b"(?:"
    + b"|".join(
        _escaped(b"%d:" % (4 * length)) + _ESCAPED_HEX + b"{%d}" % length
        for length in _HEX_LENGTH.values()
    )
    + b")"
)
_LONGEST_ESCAPED = 6 * len("sha512:") + 6 * _HEX_LENGTH["sha512"]


def digests_in(document: bytes) -> frozenset[Digest]:
    """Return every digest in a JSON document, wherever it is and however it is escaped.

    The bytes are searched and not parsed, in linear time, so that digests are found in documents
    that are malformed or too large to parse. Text that only looks like a digest is found too.
    """
    pattern = _ESCAPED if b"\\u00" in document else _WRITTEN
    found: set[bytes] = set()
    # In steps, since a single search blocks all other threads.
    for start in range(0, len(document), _STEP):
        found.update(pattern.findall(document, start, start + _STEP + _LONGEST_ESCAPED))
    return frozenset(Digest.parse(_unescape(text)) for text in found)


def _unescape(text: bytes) -> str:
    return str(json.loads(b'"%s"' % text)) if b"\\" in text else text.decode("ascii")


@frozen
class Prefix:
    """The first ``length`` bytes of some content, as their digest."""

    length: int
    digest: Digest


class Verifier:
    """A running hash of content, compared with the expected digest.

    Use it from one thread at a time. ``length`` is the number of bytes so far.
    """

    def __init__(self, expected: Digest) -> None:
        self.expected = expected
        self.length = 0
        self._hash = _hash(expected.algorithm)

    def update(self, data: bytes | memoryview) -> None:
        """Hash the next bytes of the content."""
        self._hash.update(data)
        self.length += data.nbytes if isinstance(data, memoryview) else len(data)

    def actual(self) -> Digest:
        """Return the digest of the bytes so far; more may follow."""
        return Digest(self.expected.algorithm, self._hash.hexdigest())

    def prefix(self) -> Prefix:
        """Return the length and digest of the bytes so far."""
        return Prefix(self.length, self.actual())

    def verified(self) -> bool:
        """Return whether the bytes so far match the expected digest."""
        return self._hash.hexdigest() == self.expected.encoded
