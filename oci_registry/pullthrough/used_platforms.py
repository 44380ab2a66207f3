"""Which platforms of an image clients use."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from oci_registry.spec.contents import Child
from oci_registry.spec.digest import Digest
from oci_registry.spec.platforms import Platform
from oci_registry.spec.reference import content_key
from oci_registry.storage.platforms import Repository, Used
from oci_registry.streams.recent import RecentValues


@frozen
class PlatformLimits:
    """The maximum numbers of manifests of indexes, of those of one index, of repositories, and of the
    *platforms* of one repository.
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
        # As text: there are many, and the garbage collector does not look at that.
        self._known: RecentValues[str] = RecentValues(limits.manifests)
        # The repository that was used last comes last.
        self._used: dict[Repository, tuple[Platform, ...]] = {}

    @property
    def used_last(self) -> Used:
        """All of them, what was used last first."""
        return dict(reversed(list(self._used.items())))

    def learn(self, repository: Repository, children: Iterable[Child]) -> None:
        """Remember the platforms of the manifests in an index."""
        for number, child in enumerate(children):
            if number >= self._limits.of_one_index:
                break
            if child.platform is not None:
                self._known.put(
                    content_key(*repository, child.descriptor.digest), str(child.platform)
                )

    def use(self, repository: Repository, digest: Digest) -> bool:
        """A client has pulled a manifest, whose platform may be known; return whether it is a new one."""
        known = self._known.get(content_key(*repository, digest))
        if known is None:
            return False
        platform = Platform.parse(known)
        used = self._used.pop(repository, ())
        others = (other for other in used if other != platform)
        # The one that was used last stays longest.
        self._used[repository] = (platform, *others)[: self._limits.platforms]
        self._forget()
        return platform not in used

    def merge(self, others: Used) -> None:
        """Add what was used before all that is known here."""
        found = dict(reversed(list(others.items())))
        for repository, used in self._used.items():
            older = found.pop(repository, ())
            found[repository] = tuple(dict.fromkeys((*used, *older)))[: self._limits.platforms]
        self._used = found
        self._forget()

    def chosen(self, repository: Repository, children: Iterable[Child]) -> list[Child]:
        """Return the manifests in an index whose platforms clients have used of its repository."""
        known = self._used.pop(repository, ())
        if known:
            self._used[repository] = known
        return [
            child
            for child in children
            if child.platform is not None and _is_of(child.platform, known)
        ]

    def _forget(self) -> None:
        while len(self._used) > self._limits.repositories:
            del self._used[next(iter(self._used))]


def _is_of(platform: Platform, known: Iterable[Platform]) -> bool:
    """Whether a platform is one of those that are known; indexes may state its variant or not."""
    return any(each.includes(platform) or platform.includes(each) for each in known)
