"""What a manifest says as a referrer: its subject, and its entry in the subject's list of referrers.

Image manifest specification, ``subject``; distribution specification, "Listing Referrers".
"""

from __future__ import annotations

from oci_registry.spec.digest import Digest
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import DigestInvalid
from oci_registry.spec.manifest import Manifest


def subject_of(manifest: Manifest) -> Digest | None:
    """Return the manifest that a manifest refers to; None if it refers to none."""
    subject = (read_object(manifest.raw) or {}).get("subject")
    try:
        return Digest.parse(str(subject.get("digest"))) if isinstance(subject, dict) else None
    except DigestInvalid:
        return None


def descriptor_of(manifest: Manifest) -> dict[str, object]:
    """Return the entry of a manifest in a list of referrers: with its annotations, and the type of artifact."""
    document = read_object(manifest.raw) or {}
    found: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
    }
    config = document.get("config")
    kind = document.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else None
    )
    if isinstance(kind, str) and kind:
        found["artifactType"] = kind
    annotations = document.get("annotations")
    if isinstance(annotations, dict) and annotations:
        found["annotations"] = annotations
    return found
