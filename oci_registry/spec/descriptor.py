"""What a manifest says of another piece of content (OCI image spec, "Content Descriptors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import DigestInvalid, ManifestInvalid, shown
from oci_registry.spec.mediatypes import is_media_type

_MAX_SIZE = 2**63 - 1


@frozen
class Descriptor:
    """Type, digest and length of some content; ``size`` is ``None`` while it is not known."""

    media_type: str
    digest: Digest
    size: int | None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The descriptor in a JSON object; `ManifestInvalid` if one of the three is malformed."""
        if not isinstance(value, Mapping):
            raise ManifestInvalid("a descriptor is not a JSON object")
        media_type = value.get("mediaType")
        if not isinstance(media_type, str) or not is_media_type(media_type):
            raise ManifestInvalid("a descriptor has no mediaType, or a malformed one")
        digest = value.get("digest")
        if not isinstance(digest, str):
            raise ManifestInvalid("a descriptor has no digest")
        size = value.get("size")
        # bool is an int to Python, but not to JSON; beyond 63 bits no other client can follow.
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
            raise ManifestInvalid(f"the descriptor of {shown(digest)} has no size")
        try:
            return cls(media_type, Digest.parse(digest), size)
        except DigestInvalid as error:
            raise ManifestInvalid(f"a descriptor is malformed: {error.message}") from None
