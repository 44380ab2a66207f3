"""Images as clients name them: ``docker.io/library/x:1``, ``x:1``, ``quay.io/a/b@sha256:...``."""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import evolve, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ReferenceInvalid, shown
from oci_registry.spec.reference import (
    Reference,
    Tag,
    canonical_host,
    looks_like_host,
    parse_host,
    parse_repository,
)

HUB = "docker.io"
LATEST = "latest"
_LONGEST = 1024


@frozen
class ImageName:
    """The name of an image: registry, repository, and a tag, a digest, both or neither.

    The registry is a namespace: a host in lower case under its usual name, or a single component.
    """

    registry: str
    repository: str
    tag: Tag | None = None
    digest: Digest | None = None

    @property
    def reference(self) -> Reference:
        """Return what a client pulls: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or Tag(LATEST)

    @property
    def base(self) -> str:
        """Return registry and repository."""
        return f"{self.registry}/{self.repository}"

    def tagged(self, tag: str) -> ImageName:
        """Return the image of this repository with this tag; raise `ReferenceInvalid`."""
        return evolve(self, tag=Tag(tag), digest=None)

    def __str__(self) -> str:
        if self.digest is not None and self.tag is not None:
            return f"{self.base}:{self.tag}@{self.digest}"
        separator = "@" if self.digest is not None else ":"
        return f"{self.base}{separator}{self.reference}"


def parse_image(
    text: str,
    *,
    default: str = HUB,
    registries: Collection[str] = (),
    fold: Callable[[str], str] = canonical_host,
) -> ImageName:
    """Return the image ``[REGISTRY/]REPOSITORY[:TAG][@DIGEST]``; raise a `RegistryError` for any other text.

    The first component is the registry if it looks like a host, or is one of *registries*; otherwise
    the registry is *default*. *fold* returns the usual name of a host. A repository of docker.io
    with one component is below ``library/``.
    """
    if len(text) > _LONGEST:
        raise ReferenceInvalid(f"the name of an image has at most {_LONGEST} characters")
    if not text or "://" in text:
        hint = "it is empty" if not text else "write it without a scheme"
        raise ReferenceInvalid(f"{shown(text)} is not the name of an image: {hint}")
    named, at, digest = text.partition("@")
    first, slash, rest = named.partition("/")
    if slash and first in registries:
        registry, path = first, rest
    elif slash and looks_like_host(first):
        registry, path = fold(parse_host(first, lenient=True)), rest
    else:
        registry, path = fold(default), named
    folders, slash, last = path.rpartition("/")
    last, colon, tag = last.partition(":")
    repository = parse_repository(f"{folders}{slash}{last}", upper_case=True)
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return ImageName(
        registry,
        repository,
        Tag(tag) if colon else None,
        Digest.parse(digest) if at else None,
    )
