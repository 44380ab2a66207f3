"""What manifests consist of: the manifests in an index, the config and the layers of an image."""

from __future__ import annotations

from attrs import frozen

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import DigestInvalid, ManifestInvalid
from oci_registry.spec.manifest import MAX_BLOBS, Manifest
from oci_registry.spec.mediatypes import (
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    INDEX_TYPES,
    OCI_MANIFEST,
)
from oci_registry.spec.platforms import Platform

DEEPEST = 4
"""The maximum depth of nested indexes."""
MOST = 10_000
"""The maximum number of manifests of an image."""
SCHEMA1 = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
"""The types of manifests that list their layers in a different form."""
_WITH_LAYERS = (OCI_MANIFEST, DOCKER_MANIFEST)
# Layers that registries do not distribute.
_ELSEWHERE = ("foreign", "nondistributable")


@frozen
class Child:
    """A manifest in an index, and its platform if it has one.

    *other*: the index states something other than a platform, such as ``unknown/unknown`` for attestations.
    """

    descriptor: Descriptor
    platform: Platform | None
    other: bool = False

    def __str__(self) -> str:
        of = "" if self.platform is None else f" ({self.platform})"
        return f"manifest {self.descriptor.digest}{of}"


class Unreadable(ValueError):
    """A manifest has the right digest, but what it consists of cannot be read."""


def children_of(manifest: Manifest) -> list[Child] | None:
    """Return the manifests in an index; None if this is not an index. Raises `Unreadable`."""
    document = read_object(manifest.raw) or {}
    entries = document.get("manifests")
    if not isinstance(entries, list):
        if manifest.media_type in INDEX_TYPES:
            raise Unreadable(f"the index {manifest.digest} cannot be read")
        return None
    children = []
    for entry in entries:
        try:
            descriptor = Descriptor.from_json(entry)
        except ManifestInvalid as error:
            raise Unreadable(f"the index {manifest.digest}: {error.message}") from None
        platform = Platform.from_json(entry.get("platform"))
        other = platform is None and entry.get("platform") is not None
        children.append(Child(descriptor, platform, other))
    return children


def blobs_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return the config and the layers of a manifest. Raises `Unreadable`."""
    if manifest.media_type in SCHEMA1:
        raise Unreadable(f"{manifest.digest} is a schema 1 manifest, which a bundle cannot have")
    if not manifest.has_blobs and manifest.media_type in _WITH_LAYERS:
        raise Unreadable(f"the config and layers of the manifest {manifest.digest} cannot be read")
    return manifest.blobs


def layers_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return all blobs of a manifest that is not an index, in order. Raises `Unreadable`.

    Unlike `blobs_of`, this includes those of a schema 1 manifest, whose sizes are not known.
    """
    if manifest.media_type not in SCHEMA1:
        return blobs_of(manifest)
    entries = (read_object(manifest.raw) or {}).get("fsLayers")
    if not isinstance(entries, list) or len(entries) > MAX_BLOBS:
        raise Unreadable(f"the layers of the manifest {manifest.digest} cannot be read")
    found: dict[Digest, Descriptor] = {}
    for entry in entries:
        text = entry.get("blobSum") if isinstance(entry, dict) else None
        try:
            digest = Digest.parse(str(text))
        except DigestInvalid:
            raise Unreadable(
                f"the layers of the manifest {manifest.digest} cannot be read"
            ) from None
        found[digest] = Descriptor(None, digest, None)
    return tuple(found.values())


def is_elsewhere(blob: Descriptor) -> bool:
    """Whether a layer is one that registries do not distribute."""
    return any(word in (blob.media_type or "") for word in _ELSEWHERE)
