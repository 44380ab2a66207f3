"""The layout of the store, as pure functions from nouns to keys and back.

``blobs/ALGORITHM/ab/REST``                           a blob, by digest, shared by all registries
``repositories/HOST/_manifests/ALGORITHM/ab/REST``    a manifest of a registry, by digest
``repositories/HOST/REPOSITORY/_tags/TAG``            the record of a tag
``repositories/HOST/REPOSITORY/_referrers/ALGORITHM/ab/REST``  the list of referrers of a manifest
``pins/HOST/REPOSITORY/_tags/TAG``                    a tag that the operator has pinned
``pins/HOST/REPOSITORY/_digests/ALGORITHM/ab/REST``   a digest that the operator has pinned
``histories/HOST/REPOSITORY/_tags/TAG``               the history of a tag
``holds/HOST/REPOSITORY/_tags/TAG/ALGORITHM/ab/REST``  the digest at which a tag is held

A repository's components never begin with an underscore, so the marks cannot be mistaken.
In repositories with upper-case letters, ``!a`` stands for ``A``: no name contains ``!``, and names that
differ in case alone stay apart on file systems that ignore case.
"""

from __future__ import annotations

import re
from functools import partial

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.reference import (
    Reference,
    Tag,
    parse_host,
    parse_repository,
    parse_tag,
)

BLOBS = "blobs"
REPOSITORIES = "repositories"
PINS = "pins"
HISTORIES = "histories"
HOLDS = "holds"
QUARANTINE = "quarantine"
"""The first part of the keys of corrupt objects; the rest is the key that each of them had."""
TAGS = "_tags"
"""The folder of a repository that has its tags."""
_UPPER = re.compile("[A-Z]")
_ESCAPED = re.compile("!([a-z])")


def check_key(key: str) -> str:
    """Return *key*; ValueError if it is not a relative path, or could leave the root."""
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
    """Return the key of a blob."""
    return f"{BLOBS}/{_digest_path(digest)}"


def parse_blob_key(key: str) -> Digest | None:
    """Return the digest of the blob at *key*, or None if it is something else."""
    top, *parts = key.split("/")
    return _parse_digest_path(parts) if top == BLOBS else None


def manifest_key(host: str, digest: Digest) -> str:
    """Return the key of a manifest of a registry."""
    return f"{REPOSITORIES}/{host}/_manifests/{_digest_path(digest)}"


def parse_manifest_key(key: str) -> tuple[str, Digest] | None:
    """Return the registry and the digest of the manifest at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) != 5 or parts[1] != "_manifests":
        return None
    digest = _parse_digest_path(parts[2:])
    return (parts[0], digest) if digest is not None and _is_namespace(parts[0]) else None


def _is_namespace(text: str) -> bool:
    """Whether this is the name of a registry: a host in lower case, or a single component."""
    for parse in (parse_repository, partial(parse_host, lenient=True)):
        try:
            return "/" not in text and parse(text) == text
        except RegistryError:
            continue
    return False


def _repository_prefix(host: str, repository: str, top: str = REPOSITORIES) -> str:
    return f"{top}/{host}/{escape_upper(repository)}"


def escape_upper(repository: str) -> str:
    """Return a repository as it is written in keys."""
    if repository.islower():
        return repository
    return _UPPER.sub(lambda letter: f"!{letter[0].lower()}", repository)


def _parse_repository_parts(parts: list[str]) -> tuple[str, str] | None:
    """Return the registry and the repository in the components of a `_repository_prefix`."""
    if len(parts) < 2 or not _is_namespace(parts[0]):
        return None
    written = _ESCAPED.sub(lambda escaped: escaped[1].upper(), "/".join(parts[1:]))
    try:
        return parts[0], parse_repository(written, upper_case=True)
    except RegistryError:
        return None


def tags_prefix(host: str, repository: str) -> str:
    """Return the prefix of a repository's tags."""
    return f"{_repository_prefix(host, repository)}/{TAGS}"


def tag_key(host: str, repository: str, tag: str) -> str:
    """Return the key of the record of a tag."""
    return f"{tags_prefix(host, repository)}/{tag}"


def parse_tag_key(key: str) -> tuple[str, str, str] | None:
    """Return the registry, the repository and the tag of the record at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) < 4 or parts[-2] != TAGS:
        return None
    named = _parse_repository_parts(parts[:-2])
    try:
        tag = parse_tag(parts[-1])
    except RegistryError:
        return None
    return (*named, tag) if named is not None and tag_key(*named, tag) == key else None


def history_key(host: str, repository: str, tag: str) -> str:
    """Return the key of the history of a tag."""
    return HISTORIES + tag_key(host, repository, tag).removeprefix(REPOSITORIES)


def parse_history_key(key: str) -> tuple[str, str, str] | None:
    """Return the registry, the repository and the tag of the history at *key*, or None."""
    top, slash, rest = key.partition("/")
    return parse_tag_key(f"{REPOSITORIES}/{rest}") if slash and top == HISTORIES else None


def hold_key(host: str, repository: str, tag: str, digest: Digest) -> str:
    """Return the key of the hold of a tag at a digest."""
    place = tag_key(host, repository, tag).removeprefix(REPOSITORIES)
    return f"{HOLDS}{place}/{_digest_path(digest)}"


def parse_hold_key(key: str) -> tuple[str, str, str, Digest] | None:
    """Return the registry, the repository, the tag and the digest of the hold at *key*, or None."""
    top, *parts = key.split("/")
    if top != HOLDS or len(parts) < 7:
        return None
    tag = parse_tag_key("/".join((REPOSITORIES, *parts[:-3])))
    digest = _parse_digest_path(parts[-3:])
    return None if tag is None or digest is None else (*tag, digest)


def repository_path(host: str, repository: str) -> str:
    """Return the path of a repository below `REPOSITORIES`."""
    return _repository_prefix(host, repository).removeprefix(f"{REPOSITORIES}/")


def parse_repository_path(path: str) -> tuple[str, str] | None:
    """Return the registry and the repository at a path below `REPOSITORIES`, or None."""
    named = _parse_repository_parts(path.split("/"))
    return named if named is not None and repository_path(*named) == path else None


def referrers_key(host: str, repository: str, digest: Digest) -> str:
    """Return the key of the list of referrers of a manifest."""
    return f"{_repository_prefix(host, repository)}/_referrers/{_digest_path(digest)}"


def parse_referrers_key(key: str) -> tuple[str, str, Digest] | None:
    """Return the registry, the repository and the digest of the list at *key*, or None."""
    top, *parts = key.split("/")
    if top != REPOSITORIES or len(parts) < 6 or parts[-4] != "_referrers":
        return None
    named, digest = _parse_repository_parts(parts[:-4]), _parse_digest_path(parts[-3:])
    if named is None or digest is None or referrers_key(*named, digest) != key:
        return None
    return (*named, digest)


def pin_key(host: str, repository: str, reference: Reference) -> str:
    """Return the key of the operator's pin of an image."""
    prefix = _repository_prefix(host, repository, PINS)
    if isinstance(reference, Tag):
        return f"{prefix}/_tags/{reference}"
    return f"{prefix}/_digests/{_digest_path(reference)}"


def parse_pin_key(key: str) -> tuple[str, str, Reference] | None:
    """Return the registry, the repository and the reference of the pin at *key*, or None."""
    top, *parts = key.split("/")
    if top != PINS or len(parts) < 4:
        return None
    reference: Reference | None
    if parts[-2] == "_tags":
        named = _parse_repository_parts(parts[:-2])
        try:
            reference = Tag(parts[-1])
        except RegistryError:
            return None
    else:
        named = _parse_repository_parts(parts[:-4]) if parts[-4] == "_digests" else None
        reference = _parse_digest_path(parts[-3:])
    if named is None or reference is None or pin_key(*named, reference) != key:
        return None
    return (*named, reference)
