"""Sizes of blobs, as manifests state them: hints that upstream may contradict."""

from __future__ import annotations

from itertools import islice

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import content_key
from oci_registry.streams.recent import RecentValues


@frozen
class SizeLimits:
    """How many sizes are kept.

    *hints*: those that manifests state. *of_one_manifest*: those of the blobs of one manifest; real
    images have at most 127 layers. *verified*: those of blobs that have been downloaded.
    """

    hints: int = 20_000
    of_one_manifest: int = 1_000
    verified: int = 5_000


def possible(digest: Digest, size: int | None) -> int | None:
    """Return *size*, or None if it is impossible: size 0 for a digest other than that of no bytes."""
    if size == 0 and digest != Digest.of(b"", digest.algorithm):
        return None
    return size


class KnownSizes:
    """Sizes in bytes, by registry, repository and digest: hints, unless they have been verified.

    Hints are kept by repository, so that a manifest in one cannot break pulls from another. The manifest
    that was served last wins. The least recently used sizes are evicted.
    """

    def __init__(self, limits: SizeLimits = SizeLimits()) -> None:
        self._of_one_manifest = limits.of_one_manifest
        self._hints: RecentValues[int] = RecentValues(limits.hints)
        self._verified: RecentValues[int] = RecentValues(limits.verified)
        self._last: tuple[str, str, Digest] | None = None
        self.losses = 0
        """How often a hint was replaced or removed: until it changes, all learned hints are known."""

    def learn(self, host: str, repository: str, manifest: Manifest) -> None:
        """Remember the sizes that a manifest states, which is being served."""
        this = (host, repository, manifest.digest)
        if this == self._last:
            return
        self._last = this
        for digest, size in islice(manifest.sizes(), self._of_one_manifest):
            if size or possible(Digest.parse(digest), size) is not None:
                self._keep(content_key(host, repository, digest), size)

    def _keep(self, key: str, size: int) -> None:
        before = self._hints.get(key)
        if before != size:
            self.losses += before is not None or self._hints.is_full
            self._hints.put(key, size)

    def get(self, host: str, repository: str, digest: Digest | str) -> int | None:
        """Return a blob's size if it was verified, or a manifest of the same repository states it."""
        verified = self._verified.get(str(digest))
        return (
            self._hints.get(content_key(host, repository, digest)) if verified is None else verified
        )

    def repositories(self, digest: Digest) -> list[tuple[str, str]]:
        """Return registries and repositories with a manifest that names a blob; takes milliseconds."""
        end = f"@{digest}"
        named = [key.removesuffix(end) for key in self._hints if key.endswith(end)]
        return [(host, repository) for host, _, repository in (key.partition(" ") for key in named)]

    def contradict(self, host: str, repository: str, digest: Digest, size: int) -> None:
        """Forget a hint other than *size*, the bytes that the blob has according to upstream or the store."""
        key = content_key(host, repository, digest)
        if self._hints.get(key) not in (None, size):
            self._hints.remove(key)
            self.losses += 1
            self._last = None

    def verified(self, digest: Digest, size: int) -> None:
        """Remember the size of verified content whose size upstream did not announce."""
        self._verified.put(str(digest), size)
