"""The layout of the store, as pure functions from nouns to keys and back.

``blobs/ALGORITHM/ab/REST``                           a blob, by digest, shared by all registries
``repositories/HOST/_manifests/ALGORITHM/ab/REST``    a manifest of a registry, by digest
``repositories/HOST/REPOSITORY/_tags/TAG``            what a tag means
``repositories/HOST/REPOSITORY/_referrers/ALGORITHM/ab/REST``  what refers to a manifest

A repository's components never begin with an underscore, so the marks cannot be mistaken.
"""

from __future__ import annotations

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.reference import parse_host, parse_repository, parse_tag

BLOBS = "blobs"
REPOSITORIES = "repositories"


def check_key(key: str) -> str:
    """Return *key*; ValueError for one that is no relative path, or could leave the root."""
    if "\0" in key or not {".", "..", ""}.isdisjoint(key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


def _digest_path(digest: Digest) -> str:
    return f"{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded[2:]}"


def _parse_digest_path(parts: list[str]) -> Digest | None:
    if len(parts) != 3 or len(parts[1]) != 2:
        return None
    try:
        return Digest.parse(f"{parts[0]}:{parts[1]}{parts[2]}")
    except RegistryError:
        return None


def blob_key(digest: Digest) -> str:
    """Return where a blob is."""
    return f"{BLOBS}/{_digest_path(digest)}"


def parse_blob_key(key: str) -> Digest | None:
    """Return which blob is at *key*, or None when it is something else."""
    top, *parts = key.split("/")
    return _parse_digest_path(parts) if top == BLOBS else None


def manifest_key(host: str, digest: Digest) -> str:
    """Return where a manifest of a registry is."""
    return f"{REPOSITORIES}/{host}/_manifests/{_digest_path(digest)}"


def parse_manifest_key(key: str) -> tuple[str, Digest] | None:
    """Return the registry and the digest of the manifest at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) != 5 or parts[1] != "_manifests":
        return None
    digest = _parse_digest_path(parts[2:])
    try:
        host = parse_host(parts[0])
    except RegistryError:
        return None
    # A host may be written in many ways, but there is one way in which it is written here.
    return (host, digest) if digest is not None and host == parts[0] else None


def tags_prefix(host: str, repository: str) -> str:
    """Return the prefix of a repository's tags."""
    return f"{REPOSITORIES}/{host}/{repository}/_tags"


def tag_key(host: str, repository: str, tag: str) -> str:
    """Return where the record of a tag is."""
    return f"{tags_prefix(host, repository)}/{tag}"


def parse_tag_key(key: str) -> tuple[str, str, str] | None:
    """Return the registry, the repository and the tag of the record at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) < 4 or parts[-2] != "_tags":
        return None
    try:
        named = parse_host(parts[0]), parse_repository("/".join(parts[1:-2])), parse_tag(parts[-1])
    except RegistryError:
        return None
    return named if tag_key(*named) == key else None


def referrers_key(host: str, repository: str, digest: Digest) -> str:
    """Return where the list of what refers to a manifest is."""
    return f"{REPOSITORIES}/{host}/{repository}/_referrers/{_digest_path(digest)}"


def parse_referrers_key(key: str) -> tuple[str, str, Digest] | None:
    """Return the registry, the repository and the digest of the list at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) < 6 or parts[-4] != "_referrers":
        return None
    digest = _parse_digest_path(parts[-3:])
    try:
        host, repository = parse_host(parts[0]), parse_repository("/".join(parts[1:-4]))
    except RegistryError:
        return None
    if digest is None or referrers_key(host, repository, digest) != key:
        return None
    return host, repository, digest
