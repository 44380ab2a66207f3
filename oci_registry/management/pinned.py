"""Which images are pinned, by whom, and which digests tags are held at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.storage.holds import Names

ByPattern = Callable[[str, Digest, Sequence[tuple[str, str]]], bool]
"""Whether the configuration pins the manifest of a registry with these tags, pairs of repository and tag."""

OPERATOR = "by command"
CONFIGURATION = "by the upstream file"


class Pinned:
    """The operator's pins, *images*, and those of the configuration; *held*: the digests of held tags."""

    def __init__(
        self,
        images: Iterable[ImageName] = (),
        by_pattern: ByPattern = lambda *_: False,
        held: Mapping[Names, Digest] = {},
    ) -> None:
        self._tags: set[tuple[str, str, str]] = set()
        self._digests: set[tuple[str, Digest]] = set()
        self._by_pattern = by_pattern
        self._held = dict(held)
        self._held_digests = {(host, digest) for (host, _, _), digest in held.items()}
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
        """Return who has pinned the manifest of a registry with these tags; empty if nobody has.

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

    def is_held(self, host: str, digest: Digest) -> bool:
        """Whether a tag is held at a manifest."""
        return (host, digest) in self._held_digests

    def keeps(self, host: str, digest: Digest) -> bool:
        """Whether a manifest is kept whatever its tags are: its digest is pinned, or a tag is held at it."""
        return self.has_digest(host, digest) or self.is_held(host, digest)

    def held_at(self, host: str, repository: str, tag: str) -> Digest | None:
        """Return the digest at which a tag is held."""
        return self._held.get((host, repository, tag))

    def holder(self, host: str, digest: Digest) -> tuple[str, str] | None:
        """Return the repository and the name of a tag that is held at a manifest."""
        held = (
            (names[1], names[2])
            for names, at in self._held.items()
            if (names[0], at) == (host, digest)
        )
        return min(held, default=None)
