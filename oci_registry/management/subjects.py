"""The subject of a question or a change: an image as clients name it, or a digest of a registry."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from oci_registry.management.problems import InvalidName
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError, shown
from oci_registry.spec.image import LATEST, ImageName
from oci_registry.spec.reference import Reference, Tag


@frozen
class Subject:
    """An image: a tag of a repository, or a digest of a registry, whose *repository* may be None."""

    registry: str
    repository: str | None
    reference: Reference

    @classmethod
    def of(cls, image: ImageName) -> Subject:
        """Return the image that a client means; as for clients, a digest overrides the tag."""
        return cls(image.registry, image.repository, image.reference)

    @property
    def tag(self) -> str | None:
        """The tag; None for a digest."""
        return self.reference.name if isinstance(self.reference, Tag) else None

    @property
    def digest(self) -> Digest | None:
        """The digest; None for a tag."""
        return self.reference if isinstance(self.reference, Digest) else None

    def image(self) -> ImageName:
        """Return it as the name of an image; raise `InvalidName` if its repository is not known."""
        if self.repository is None:
            raise InvalidName(f"{self}: give the repository too")
        return ImageName(self.registry, self.repository, _tag(self.reference), self.digest)

    def __str__(self) -> str:
        return name_of(self.registry, self.repository, self.reference)


def _tag(reference: Reference) -> Tag | None:
    return reference if isinstance(reference, Tag) else None


def name_of(registry: str, repository: str | None, reference: Reference) -> str:
    """Return the name of an image: ``docker.io/library/x:1``, ``docker.io/@sha256:...``."""
    base = f"{registry}/{repository or ''}"
    return f"{base}{'@' if isinstance(reference, Digest) else ':'}{reference}"


def parse_subject(text: str, parse: Callable[[str], ImageName]) -> Subject:
    """Return the image in *text*; raise `InvalidName`.

    *parse*: reads the name of an image as clients write it. In addition, ``REGISTRY/@DIGEST`` is a
    digest whose repository is not known. Without a tag or a digest, the tag is ``latest``.
    """
    try:
        named, at, digest = text.partition("/@")
        if not at:
            return Subject.of(parse(text))
        # Parsing it with any repository shows whether it is a registry.
        image = parse(f"{named}/{LATEST}")
        if "/" in image.repository.removeprefix("library/") or image.repository == named:
            raise InvalidName(f"{shown(named)} is not a registry")
        return Subject(image.registry, None, Digest.parse(digest))
    except RegistryError as error:
        raise InvalidName(error.message) from None


def parse_digest(text: str) -> Digest:
    """Return the digest in *text*; raise `InvalidName`."""
    try:
        return Digest.parse(text)
    except RegistryError as error:
        raise InvalidName(error.message) from None


def check_pattern(pattern: str) -> str:
    """Return a pattern of names, with ``*`` and ``?``; raise `InvalidName` if it is too long."""
    if len(pattern) > 512:
        raise InvalidName(f"the pattern {shown(pattern)} has more than 512 characters")
    return pattern
