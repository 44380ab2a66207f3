"""Disk usage: sums by registry and repository, in bounded queries."""

from __future__ import annotations

from attrs import define

from oci_registry.account.shares import Owner, Share, Shares, names_after, registries
from oci_registry.management.answers import DiskUse, RepositoryUse
from oci_registry.management.index import Index


@define
class _Sum:
    """The sums of one repository or registry; sizes are bytes."""

    images: int = 0
    manifests: int = 0
    blobs: int = 0
    unique: int = 0
    shared: int = 0

    def add(self, share: Share, *, alone: bool) -> None:
        self.images += share.singles
        self.manifests += share.manifests
        self.blobs += share.blobs
        if alone:
            self.unique += share.size
        else:
            self.shared += share.size


class _Sums:
    """The sums of repositories and of registries, by their numbers; see `Owner`."""

    def __init__(self) -> None:
        self.repositories: dict[Owner, _Sum] = {}
        self.registries: dict[Owner, _Sum] = {}
        self.blobs = self.manifests = self.size = 0
        self.unnamed_blobs = self.unnamed_size = 0

    def add(self, share: Share) -> None:
        self.size += share.size
        self.blobs += share.blobs
        self.manifests += share.manifests
        if not share.owners:
            self.unnamed_blobs += share.blobs
            self.unnamed_size += share.size
        hosts = frozenset((host, 0) for host, _ in share.owners)
        for table, owners in ((self.repositories, share.owners), (self.registries, hosts)):
            for owner in owners:
                table.setdefault(owner, _Sum()).add(share, alone=len(owners) == 1)


async def disk_use(index: Index, free: int | None) -> DiskUse:
    """Return how much is stored. *free*: free bytes of the volume. Raises `NotReady`."""
    await index.catch_up()
    sums = _Sums()
    for share in await Shares().all(index.ask):
        sums.add(share)
    by_repository, by_registry = await _named(index, sums)
    return DiskUse(
        _sorted(by_registry),
        _sorted(by_repository),
        sums.blobs,
        sums.manifests,
        sums.size,
        sums.unnamed_blobs,
        sums.unnamed_size,
        free,
        index.is_whole,
    )


async def _named(index: Index, sums: _Sums) -> tuple[list[RepositoryUse], list[RepositoryUse]]:
    """Return the sums of repositories and of registries with their names, their tags counted."""
    by_repository, by_registry = list[RepositoryUse](), list[RepositoryUse]()
    after: int | None = 0
    while after is not None:
        found, after = await index.ask(names_after(after))
        for named in found:
            one = sums.repositories.get(named.owner)
            if one is not None:
                one.images += named.tags
                sums.registries[named.owner[0], 0].images += named.tags
                by_repository.append(_answer(named.registry, named.repository, one))
    for named in await index.ask(registries):
        unknown, one = sums.repositories.get(named.owner), sums.registries.get(named.owner)
        if unknown is not None:
            by_repository.append(_answer(named.registry, None, unknown))
        if one is not None:
            by_registry.append(_answer(named.registry, None, one))
    return by_repository, by_registry


def _answer(registry: str, repository: str | None, one: _Sum) -> RepositoryUse:
    return RepositoryUse(
        registry, repository, one.images, one.manifests, one.blobs, one.unique, one.shared
    )


def _sorted(answers: list[RepositoryUse]) -> tuple[RepositoryUse, ...]:
    """Return the sums, the largest first."""
    return tuple(
        sorted(
            answers,
            key=lambda one: (-one.unique - one.shared, one.registry, one.repository or ""),
        )
    )
