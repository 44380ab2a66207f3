"""The media types that a registry has to know, and the grammar of all others."""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
OCTET_STREAM = "application/octet-stream"

MANIFEST_TYPES: tuple[str, ...] = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_ARTIFACT,
    # After the others: a registry that has an image in both schemas must not choose the older one.
    DOCKER_SCHEMA1_SIGNED,
    DOCKER_SCHEMA1,
)
"""Every supported type of manifest, the preferred ones first."""

INDEX_TYPES: frozenset[str] = frozenset({OCI_INDEX, DOCKER_LIST})
"""The types that list other manifests."""

ACCEPT_MANIFESTS = ", ".join((*MANIFEST_TYPES, "*/*"))
"""The ``Accept`` with which an upstream returns any manifest as it is, without converting it."""

_GENERIC = frozenset(
    {
        OCTET_STREAM,
        "application/json",
        "application/problem+json",
        "application/xhtml+xml",
        "application/xml",
    }
)
_MAX_MEDIA_TYPE = 255
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(f"{_NAME}/{_NAME}")


def is_media_type(text: str) -> bool:
    """Return whether ``text`` is ``type/subtype`` without parameters (RFC 6838 section 4.2)."""
    return len(text) <= _MAX_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(text) is not None


def is_specific(media_type: str) -> bool:
    """Return whether a type identifies a kind of manifest, unlike text, images and plain JSON."""
    return media_type.startswith("application/") and media_type not in _GENERIC


def essence(content_type: str | None) -> str | None:
    """Return the media type in a ``Content-Type`` header, in lower case and without parameters.

    ``None`` if there is none, or it is malformed.
    """
    if content_type is None:
        return None
    text = content_type.partition(";")[0].strip(" \t").lower()
    return text if is_media_type(text) else None
