"""The OCI image layout of a bundle: its files, and the names of images in its index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import ManifestInvalid, RegistryError
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.referrers import descriptor_of

MARK = "oci-layout"
INDEX = "index.json"
BLOBS = "blobs"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
FULL_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


def blob_name(digest: Digest) -> str:
    """Return the name of the file of a blob or manifest."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded}"


def parse_blob_name(name: str) -> Digest | None:
    """Return the digest of the content in a file; None if it is another file."""
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != BLOBS:
        return None
    try:
        return Digest(parts[1], parts[2])
    except RegistryError:
        return None


def index_of(
    images: Sequence[tuple[ImageName, Manifest]], referrers: Sequence[Manifest] = ()
) -> bytes:
    """Return the ``index.json`` of a bundle with these images, and with *referrers*, which have no names.

    The name that other tools select an image by is its tag, if no other image has the same one.
    """
    tags = Counter(str(name.tag) for name, _ in images if name.tag is not None)
    entries: list[dict[str, object]] = []
    for name, manifest in images:
        annotations = {FULL_NAME: str(name)}
        if name.tag is not None:
            tag = str(name.tag)
            annotations[REF_NAME] = tag if tags[tag] == 1 else f"{name.base}:{tag}"
        entries.append(
            {
                "mediaType": manifest.media_type,
                "digest": str(manifest.digest),
                "size": len(manifest.raw),
                "annotations": dict(sorted(annotations.items())),
            }
        )
    for manifest in referrers:
        entry = descriptor_of(manifest)
        # They may have names, which would make it an image.
        entry.pop("annotations", None)
        entries.append(entry)
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return json.dumps(document, separators=(",", ":")).encode()


@frozen
class IndexEntry:
    """An image in an ``index.json``: its descriptor, and its names, which may be missing."""

    descriptor: Descriptor
    full_name: str | None
    ref_name: str | None


def parse_index(raw: bytes) -> list[IndexEntry]:
    """Return the images in an ``index.json``; `ValueError` if it is not one."""
    document = read_object(raw)
    entries = None if document is None else document.get("manifests")
    if not isinstance(entries, list):
        raise ValueError(f"{INDEX} is not an image index")
    return [_entry(entry) for entry in entries]


def _entry(value: object) -> IndexEntry:
    try:
        descriptor = Descriptor.from_json(value)
    except ManifestInvalid as error:
        raise ValueError(f"{INDEX}: {error.message}") from None
    annotations = value.get("annotations") if isinstance(value, dict) else None
    texts = annotations if isinstance(annotations, dict) else {}
    full, ref = (texts.get(key) for key in (FULL_NAME, REF_NAME))
    return IndexEntry(
        descriptor,
        full if isinstance(full, str) else None,
        ref if isinstance(ref, str) else None,
    )
