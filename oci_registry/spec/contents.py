"""What manifests consist of: the manifests in an index, the config and the layers of an image."""

from __future__ import annotations

from attrs import frozen

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import (
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    INDEX_TYPES,
    OCI_MANIFEST,
)
from oci_registry.spec.platforms import Platform

DEEPEST = 4
"""Indexes in indexes that are followed."""
MOST = 10_000
"""Manifests of an image."""
SCHEMA1 = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
"""The kinds of manifests that name their layers in a way of their own."""
_WITH_LAYERS = (OCI_MANIFEST, DOCKER_MANIFEST)
# Layers that registries do not distribute.
_ELSEWHERE = ("foreign", "nondistributable")


@frozen
class Child:
    """A manifest in an index, and its platform if it has one."""

    descriptor: Descriptor
    platform: Platform | None

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
        children.append(Child(descriptor, Platform.from_json(entry.get("platform"))))
    return children


def blobs_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return the config and the layers of a manifest. Raises `Unreadable`."""
    if manifest.media_type in SCHEMA1:
        raise Unreadable(f"{manifest.digest} is a schema 1 manifest, which a bundle cannot have")
    if not manifest.blobs and manifest.media_type in _WITH_LAYERS:
        raise Unreadable(f"the config and layers of the manifest {manifest.digest} cannot be read")
    return manifest.blobs


def is_elsewhere(blob: Descriptor) -> bool:
    """Whether a layer is one that registries do not distribute."""
    return any(word in (blob.media_type or "") for word in _ELSEWHERE)
