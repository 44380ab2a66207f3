"""A manifest's reference to other content (OCI image spec, "Content Descriptors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import DigestInvalid, ManifestInvalid
from oci_registry.spec.mediatypes import is_media_type

_MAX_SIZE = 2**63 - 1


@frozen
class Descriptor:
    """Media type, digest and size of some content; type and size are ``None`` if unknown."""

    media_type: str | None
    digest: Digest
    size: int | None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return the descriptor in a JSON object; raise `ManifestInvalid` if it has no valid digest.

        A type or a size that is missing or malformed is ``None``.
        """
        digest = value.get("digest") if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(digest, str):
            raise ManifestInvalid("a descriptor is not a JSON object with a digest")
        try:
            parsed = Digest.parse(digest)
        except DigestInvalid as error:
            raise ManifestInvalid(f"a descriptor is malformed: {error.message}") from None
        return cls(_media_type(value.get("mediaType")), parsed, _size(value.get("size")))


def _media_type(value: object) -> str | None:
    return value if isinstance(value, str) and is_media_type(value) else None


def _size(value: object) -> int | None:
    # bool is an int to Python, but not to JSON; beyond 63 bits no other client can follow.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SIZE:
        return None
    return value
