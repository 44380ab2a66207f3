"""Which platforms of an image clients use."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from cachetools import LRUCache

from oci_registry.spec.contents import Child
from oci_registry.spec.digest import Digest
from oci_registry.spec.platforms import Platform

Repository = tuple[str, str]
"""A namespace and a repository."""


@frozen
class PlatformLimits:
    """How many manifests of indexes are known, how many of one index, and of how many repositories the
    used *platforms* are.
    """

    manifests: int = 20_000
    of_one_index: int = 100
    repositories: int = 2_000
    platforms: int = 8


class UsedPlatforms:
    """The platforms that clients have pulled, by repository, in memory only.

    A client that pulls an index pulls the manifest of its platform next, which itself does not name the
    platform.
    """

    def __init__(self, limits: PlatformLimits = PlatformLimits()) -> None:
        self._limits = limits
        self._known: LRUCache[tuple[str, str, Digest], Platform] = LRUCache(limits.manifests)
        self._used: LRUCache[Repository, tuple[Platform, ...]] = LRUCache(limits.repositories)

    def learn(self, repository: Repository, children: Iterable[Child]) -> None:
        """Remember the platforms of the manifests in an index."""
        for number, child in enumerate(children):
            if number >= self._limits.of_one_index:
                break
            if child.platform is not None:
                self._known[*repository, child.descriptor.digest] = child.platform

    def use(self, repository: Repository, digest: Digest) -> None:
        """A client has pulled a manifest, whose platform may be known."""
        platform = self._known.get((*repository, digest))
        if platform is None:
            return
        used = self._used.get(repository, ())
        others = (other for other in used if other != platform)
        # The one that was used last stays longest.
        self._used[repository] = (platform, *others)[: self._limits.platforms]

    def used(self, repository: Repository, platform: Platform) -> bool:
        """Whether clients have used a platform of a repository; indexes may state its variant or not."""
        known: tuple[Platform, ...] = self._used.get(repository, ())
        return any(each.includes(platform) or platform.includes(each) for each in known)
