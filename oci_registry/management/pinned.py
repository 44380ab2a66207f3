"""Which images are pinned, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName

ByPattern = Callable[[str, Digest, Sequence[tuple[str, str]]], bool]
"""Whether the configuration pins the manifest of a registry with these tags, pairs of repository and tag."""

OPERATOR = "by command"
CONFIGURATION = "by the upstream file"


class Pinned:
    """The pins of the operator, *images*, and those of the configuration."""

    def __init__(
        self, images: Iterable[ImageName] = (), by_pattern: ByPattern = lambda *_: False
    ) -> None:
        self._tags: set[tuple[str, str, str]] = set()
        self._digests: set[tuple[str, Digest]] = set()
        self._by_pattern = by_pattern
        for image in images:
            if image.digest is not None:
                # Manifests belong to a registry, whatever repository they were pulled from.
                self._digests.add((image.registry, image.digest))
            else:
                self._tags.add((image.registry, image.repository, str(image.reference)))

    def why(
        self,
        host: str,
        digest: Digest,
        tags: Sequence[tuple[str, str]],
        *,
        by_digest: bool = True,
    ) -> tuple[str, ...]:
        """Return who has pinned the manifest of a registry, which these tags name; nothing: nobody.

        *by_digest*: look for pins of the digest too.
        """
        found = []
        by_tag = any((host, repository, tag) in self._tags for repository, tag in tags)
        if by_tag or (by_digest and self.has_digest(host, digest)):
            found.append(OPERATOR)
        if self._by_pattern(host, digest, tags):
            found.append(CONFIGURATION)
        return tuple(found)

    def has_digest(self, host: str, digest: Digest) -> bool:
        """Whether a manifest is pinned by its digest."""
        return (host, digest) in self._digests
