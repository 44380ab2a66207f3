"""How long blobs are, according to the manifests that need them: hints, which upstream may contradict."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest

_REMEMBERED = 20_000
_OF_ONE_MANIFEST = 1_000
"""Blobs of one manifest whose sizes are kept; real images have at most 127 layers."""
_VERIFIED = 5_000


def possible(digest: Digest, size: int | None) -> int | None:
    """Return *size* unless it cannot be that of content with this digest: only nothing has no bytes."""
    if size == 0 and digest != Digest.of(b"", digest.algorithm):
        return None
    return size


class KnownSizes:
    """Sizes in bytes, by registry, repository and digest: hints, unless they have been verified.

    Kept by repository, so that a manifest in one cannot spoil a blob that another needs; the manifest
    that was served last counts. Those that have not been used for longest are dropped.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[str, str, Digest], int] = OrderedDict()
        self._verified: OrderedDict[Digest, int] = OrderedDict()
        self._last: tuple[str, str, Digest] | None = None

    def learn(self, host: str, repository: str, manifest: Manifest) -> None:
        """Take the sizes from a manifest that is being served."""
        this = (host, repository, manifest.digest)
        if this == self._last:
            return
        self._last = this
        for blob in islice(manifest.blobs, _OF_ONE_MANIFEST):
            size = possible(blob.digest, blob.size)
            if size is not None:
                key = (host, repository, blob.digest)
                self._sizes[key] = size
                self._sizes.move_to_end(key)
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)

    def get(self, host: str, repository: str, digest: Digest) -> int | None:
        """Return a blob's size if it was verified, or a manifest of the same repository states it."""
        if digest in self._verified:
            return self._verified[digest]
        key = (host, repository, digest)
        size = self._sizes.get(key)
        if size is not None:
            self._sizes.move_to_end(key)
        return size

    def contradict(self, host: str, repository: str, digest: Digest, size: int) -> None:
        """Upstream, or the store, says that a blob has *size* bytes: forget a hint that differs."""
        key = (host, repository, digest)
        if self._sizes.get(key, size) != size:
            del self._sizes[key]
            self._last = None

    def verified(self, digest: Digest, size: int) -> None:
        """Content with this digest has been seen to have *size* bytes, though upstream announced none."""
        self._verified[digest] = size
        self._verified.move_to_end(digest)
        while len(self._verified) > _VERIFIED:
            self._verified.popitem(last=False)
