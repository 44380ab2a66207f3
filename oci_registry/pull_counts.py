"""Counts of pulls that are not exported: those that had to fetch something, and those of rate limits."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from attrs import Factory, define, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import HUB
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED

MANIFEST = "manifest"
"""The route of manifests in the metrics."""
IMAGE, LIMITED = "image", "limited"
"""Suffixes of the route: the manifest of an image, and one from a registry that counts pulls."""
_SCHEMA1 = frozenset((DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED))

_Key = tuple[str, str, str]
"""Namespace, repository, digest."""


@frozen
class PullLimits:
    """How many images are remembered, and how many blobs of one and of all of them."""

    images: int = 100
    of_one: int = 128
    blobs: int = 2000


@define
class _Image:
    """How often an image, or each of its blobs, had to be fetched at a client's request.

    *counted*: the pulls that were already counted for it. Digests are text, which the garbage collector
    does not traverse.
    """

    blobs: tuple[str, ...]
    manifest: int = 0
    missed: dict[str, int] = Factory(dict)
    counted: int = 0

    def count(self) -> int:
        """Return how many further pulls had to fetch something."""
        # A pull requests each blob once, so the highest count is the number of pulls.
        total = max(self.manifest, *self.missed.values(), 0)
        more, self.counted = total - self.counted, total
        return more


def is_image(manifest: Manifest) -> bool:
    """Whether it is the manifest of an image or an artifact, and not an index."""
    return manifest.has_blobs or manifest.media_type in _SCHEMA1


class PullCounts:
    """Counts pulls that had to fetch a part of their image, and manifests that rate limits count.

    The images that clients have pulled last are remembered. If a client requests a blob of one that is not
    stored, or its manifest, something of that image was fetched.
    """

    def __init__(self, limits: PullLimits = PullLimits()) -> None:
        self.images_fetched = 0
        """Pulls that had to fetch a part of their image."""
        self.manifests_fetched = 0
        """Manifests fetched from registries that count pulls."""
        self._limits = limits
        # Docker Hub counts GETs of manifests, whether or not its responses say so.
        self._counting = {HUB}
        self._recent: OrderedDict[_Key, _Image] = OrderedDict()
        self._blobs = 0

    def counts_pulls(self, namespace: str) -> None:
        """Take note that a registry announces a rate limit."""
        self._counting.add(namespace)

    def route(self, namespace: str, manifest: Manifest) -> str:
        """Return the route under which the response with a manifest is counted, with its kind."""
        kinds = [MANIFEST]
        if is_image(manifest):
            kinds.append(IMAGE)
        if namespace in self._counting:
            kinds.append(LIMITED)
        return "/".join(kinds)

    def fetched(self, namespace: str) -> None:
        """Count a manifest that was fetched, for a client or in advance."""
        if namespace in self._counting:
            self.manifests_fetched += 1

    def served(self, namespace: str, repository: str, manifest: Manifest, *, cached: bool) -> None:
        """Count a client's GET or HEAD of a manifest. *cached*: it was not fetched for this."""
        if not is_image(manifest):
            return
        image = self._remember((namespace, repository, str(manifest.digest)), manifest)
        if not cached:
            # Counted for a HEAD or for the GET that follows it, not for both.
            image.manifest += 1
            self.images_fetched += image.count()

    def missed(self, namespace: str, repository: str, digest: Digest) -> None:
        """Count a client's request for a blob, from its beginning, that was not stored."""
        blob = str(digest)
        for key, image in reversed(self._recent.items()):
            if key[:2] == (namespace, repository) and blob in image.blobs:
                image.missed[blob] = image.missed.get(blob, 0) + 1
                self.images_fetched += image.count()
                return

    def _remember(self, key: _Key, manifest: Manifest) -> _Image:
        image = self._recent.get(key)
        if image is None:
            named = dict.fromkeys(str(blob.digest) for blob in manifest.blobs)
            image = _Image(tuple(islice(named, self._limits.of_one)))
            self._recent[key] = image
            self._blobs += len(image.blobs)
            while len(self._recent) > self._limits.images or self._blobs > self._limits.blobs:
                _, oldest = self._recent.popitem(last=False)
                self._blobs -= len(oldest.blobs)
        else:
            self._recent.move_to_end(key)
        return image
