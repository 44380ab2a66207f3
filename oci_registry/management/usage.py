"""How much is stored, and by whom: sums by registry and repository, in questions of a bounded size."""

from __future__ import annotations

from attrs import define

from oci_registry.account.shares import (
    Memo,
    Owner,
    Owners,
    Share,
    manifests_after,
    namings_after,
    tags_in,
)
from oci_registry.management.answers import DiskUse, RepositoryUse
from oci_registry.management.index import Index

_AT_ONCE = 500


@define
class _Sum:
    images: int = 0
    manifests: int = 0
    blobs: int = 0
    unique: int = 0
    shared: int = 0

    def add(self, size: int, *, alone: bool) -> None:
        if alone:
            self.unique += size
        else:
            self.shared += size

    def answer(self, owner: Owner) -> RepositoryUse:
        return RepositoryUse(
            *owner, self.images, self.manifests, self.blobs, self.unique, self.shared
        )


class _Sums:
    """The sums of repositories and of registries."""

    def __init__(self) -> None:
        self.repositories: dict[Owner, _Sum] = {}
        self.registries: dict[Owner, _Sum] = {}
        self.blobs = self.manifests = self.size = 0
        self.unnamed_blobs = self.unnamed_size = 0

    def add(self, share: Share, *, is_blob: bool) -> None:
        self.size += share.size
        if is_blob:
            self.blobs += 1
        else:
            self.manifests += 1
        if not share.owners:
            self.unnamed_blobs += 1
            self.unnamed_size += share.size
        registries: frozenset[Owner] = frozenset((host, None) for host, _ in share.owners)
        for table, owners in (
            (self.repositories, share.owners),
            (self.registries, registries),
        ):
            for owner in owners:
                one = table.setdefault(owner, _Sum())
                one.add(share.size, alone=len(owners) == 1)
                one.blobs += is_blob
                one.manifests += not is_blob
                one.images += share.single


async def disk_use(index: Index, free: int | None) -> DiskUse:
    """Return how much is stored. *free*: bytes that the volume has. Raises `NotReady`."""
    await index.flush()
    sums = _Sums()
    memo = Memo()
    await _add_blobs(index, sums, memo)
    after: int | None = 0
    while after is not None:
        shares, after = await index.ask(manifests_after(after, _AT_ONCE, memo))
        for share in shares:
            sums.add(share, is_blob=False)
    await _count_tags(index, sums)
    return DiskUse(
        _sorted(sums.registries),
        _sorted(sums.repositories),
        sums.blobs,
        sums.manifests,
        sums.size,
        sums.unnamed_blobs,
        sums.unnamed_size,
        free,
        index.is_whole,
    )


async def _add_blobs(index: Index, sums: _Sums, memo: Memo) -> None:
    """Add all blobs, a bounded number of manifests that name them at a time."""
    blob = size = parent = 0
    owners: Owners = frozenset()
    more = True
    while more:
        namings, more = await index.ask(namings_after(blob, parent, _AT_ONCE, memo))
        for naming in namings:
            if naming.blob != blob:
                if blob:
                    sums.add(Share(size, owners), is_blob=True)
                owners = frozenset()
            blob, size, parent = naming.blob, naming.size, naming.parent
            owners = owners | naming.owners if owners else naming.owners
    if blob:
        sums.add(Share(size, owners), is_blob=True)


async def _count_tags(index: Index, sums: _Sums) -> None:
    named = [owner for owner in sums.repositories if owner[1] is not None]
    for start in range(0, len(named), _AT_ONCE):
        for owner, tags in (await index.ask(tags_in(named[start : start + _AT_ONCE]))).items():
            sums.repositories[owner].images += tags
            sums.registries[owner[0], None].images += tags


def _sorted(table: dict[Owner, _Sum]) -> tuple[RepositoryUse, ...]:
    """Return the sums, the largest first."""
    answers = [each.answer(owner) for owner, each in table.items()]
    return tuple(
        sorted(
            answers,
            key=lambda one: (-one.unique - one.shared, one.registry, one.repository or ""),
        )
    )
