"""What mcronce/oci-registry writes into its store."""

from __future__ import annotations

import json

from oci_registry.spec.manifest import Manifest


def original_key(host: str, repository: str, reference: object) -> str:
    """Return where it keeps a manifest."""
    return f"manifests/{host}/{repository}/{reference}"


def original_file(manifest: Manifest, *, claimed: bool = True) -> bytes:
    """Return what it writes; *claimed*: whether the registry has told the digest."""
    document = {
        "manifest": list(manifest.raw),
        "media_type": manifest.media_type,
        "digest": str(manifest.digest) if claimed else None,
    }
    return json.dumps(document, separators=(",", ":")).encode()
