"""Disk usage: sums by registry and repository, in bounded queries."""

from __future__ import annotations

import heapq

from attrs import define

from oci_registry.account.books import Books
from oci_registry.account.queries import Query
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


class _Named:
    """The sums with names, and with the number of tags."""

    def __init__(self, sums: _Sums) -> None:
        self._sums = sums
        self._sorted: list[list[RepositoryUse]] = []

    def next_repositories(self, after: int) -> Query[int | None]:
        """Name the repositories after a number, and return where the next ones begin, None at the end."""

        def query(books: Books) -> int | None:
            found, end = names_after(after)(books)
            answers = []
            for named in found:
                one = self._sums.repositories.get(named.owner)
                if one is not None:
                    one.images += named.tags
                    self._sums.registries[named.owner[0], 0].images += named.tags
                    answers.append(_answer(named.registry, named.repository, one))
            self._sorted.append(sorted(answers, key=_order))
            return end

        return query

    def all(self, books: Books) -> tuple[tuple[RepositoryUse, ...], tuple[RepositoryUse, ...]]:
        """Return the sums of registries and of repositories, the largest first."""
        by_registry, unknown = [], []
        for named in registries(books):
            without_name = self._sums.repositories.get(named.owner)
            one = self._sums.registries.get(named.owner)
            if without_name is not None:
                unknown.append(_answer(named.registry, None, without_name))
            if one is not None:
                by_registry.append(_answer(named.registry, None, one))
        # A merge, unlike sorting all of them, lets other threads run.
        merged = heapq.merge(*self._sorted, sorted(unknown, key=_order), key=_order)
        return tuple(sorted(by_registry, key=_order)), tuple(merged)


async def disk_use(index: Index, free: int | None) -> DiskUse:
    """Return how much is stored. *free*: free bytes of the volume. Raises `NotReady`.

    There may be as many repositories as images, so everything is added up in the thread of the account.
    """
    await index.catch_up()
    sums = _Sums()
    await Shares().add_up(index.ask, sums.add)
    named = _Named(sums)
    after: int | None = 0
    while after is not None:
        after = await index.ask(named.next_repositories(after))
    by_registry, by_repository = await index.ask(named.all)
    return DiskUse(
        by_registry,
        by_repository,
        sums.blobs,
        sums.manifests,
        sums.size,
        sums.unnamed_blobs,
        sums.unnamed_size,
        free,
        index.is_whole,
    )


def _answer(registry: str, repository: str | None, one: _Sum) -> RepositoryUse:
    return RepositoryUse(
        registry, repository, one.images, one.manifests, one.blobs, one.unique, one.shared
    )


def _order(one: RepositoryUse) -> tuple[int, str, str]:
    """Return the key by which sums are sorted: the largest first."""
    return -one.unique - one.shared, one.registry, one.repository or ""
