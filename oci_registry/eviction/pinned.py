"""Which images are pinned: never evicted, neither because of the size of the store nor because of their age.

There are two kinds of pins: patterns of the upstreams, and those of the operator. A manifest that a tag
is held at also counts as pinned. An image is pinned by its tags, or by a pinned manifest that names it:
the images in a pinned index stay too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.spec.patterns import ImagePattern
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.pins import Pins


@frozen
class PinPatterns:
    """The patterns of each registry; *otherwise*: those of registries without an entry."""

    by_host: Mapping[str, Sequence[ImagePattern]] = {}
    otherwise: Sequence[ImagePattern] = ()

    def pattern_of(self, host: str, repository: str, tag: str) -> ImagePattern | None:
        """Return the first pattern that an image matches."""
        patterns = self.by_host.get(host, self.otherwise)
        return next((one for one in patterns if one.matches(repository, tag)), None)

    @property
    def is_empty(self) -> bool:
        """Whether there is no pattern at all."""
        return not (self.otherwise or any(self.by_host.values()))


class Pinned:
    """The pins at one moment. It does not change, and can be used in any thread.

    *held*: the manifests that tags are held at, by registry and digest.
    """

    def __init__(
        self,
        patterns: PinPatterns = PinPatterns(),
        pins: Iterable[ImageName] = (),
        held: Iterable[tuple[str, Digest]] = (),
    ) -> None:
        pins = list(pins)
        self._patterns = patterns
        self._tags = {(one.registry, one.repository, str(one.tag)) for one in pins if one.tag}
        self._digests = {(one.registry, one.digest) for one in pins if one.digest} | set(held)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is pinned."""
        return self._patterns.is_empty and not (self._tags or self._digests)

    def has_tag(self, host: str, repository: str, tag: str) -> bool:
        """Whether a tag is pinned."""
        return (host, repository, tag) in self._tags or (
            self._patterns.pattern_of(host, repository, tag) is not None
        )

    def has_digest(self, host: str, digest: Digest) -> bool:
        """Whether a manifest is pinned by its digest, or a tag is held at it."""
        return (host, digest) in self._digests

    def __call__(self, host: str, digest: Digest, tags: Iterable[tuple[str, str]]) -> bool:
        """Whether a manifest with these tags, pairs of repository and tag, is pinned by itself."""
        return self.has_digest(host, digest) or any(self.has_tag(host, *tag) for tag in tags)


class PinnedImages:
    """Collects the pins: patterns, the operator's *pins*, and the *holds* of tags.

    A pin that is set while images are being removed counts, if it is set in the same *pins* and *holds*.
    """

    def __init__(
        self, pins: Pins, patterns: PinPatterns = PinPatterns(), holds: HoldStore | None = None
    ) -> None:
        self.pins = pins
        self._patterns = patterns
        self._holds = holds
        self._latest: Pinned | None = None
        self._version = (0, 0)

    def follow(self, patterns: PinPatterns) -> None:
        """Use other patterns from now on."""
        self._patterns = patterns
        self._latest = None

    def by_pattern(self, host: str, digest: Digest, tags: Iterable[tuple[str, str]]) -> bool:
        """Whether a pattern pins a manifest with these tags."""
        del digest
        return any(self._patterns.pattern_of(host, *tag) is not None for tag in tags)

    async def now(self) -> Pinned:
        """Return the current pins. Raises `StoreError`: then nothing may be evicted."""
        await self.pins.all()
        if self._holds is not None and not self._holds.loaded:
            await self._holds.load()
        return self.latest()

    def latest(self) -> Pinned:
        """Return the pins, as far as they are known without a look-up in the store.

        This is the same object as before if nothing has changed.
        """
        holds = self._holds
        version = (self.pins.changes, 0 if holds is None else holds.changes)
        if self._latest is None or version != self._version:
            held = () if holds is None else holds.manifests()
            self._latest = Pinned(self._patterns, self.pins.known, held)
            self._version = version
        return self._latest
