"""Removes images and blobs from a store, so that no part of them is served afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from attrs import evolve, field, frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import (
    BlobEntry,
    ManifestEntry,
    tags_of,
)
from oci_registry.account.queries import Query
from oci_registry.management.answers import Refreshed, Removal
from oci_registry.management.index import Index
from oci_registry.management.looking import look_at
from oci_registry.management.pinned import Pinned
from oci_registry.management.problems import InUse, InvalidName, IsPinned, NotReady, NotStored
from oci_registry.management.subjects import Subject, name_of
from oci_registry.management.trees import Needed, needed_only_by, read_tree
from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import Reference, Tag
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.original import FOLDER
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.totals import StoredTotals

_MOST_TAGS = 10_000
_BATCH = 500
"""Blobs that are removed at once."""


class PendingWrites(Protocol):
    """Writes of manifests and tags in the background."""

    async def discard(self, key: str) -> None:
        """Drop waiting writes at a key, and wait until no write is running there."""


class NoPendingWrites:
    """Nothing is written in the background."""

    async def discard(self, key: str) -> None:
        """Do nothing."""


async def _nobody(_: Sequence[str]) -> None:
    """Do nothing: no other daemon uses the store."""


@frozen
class Content:
    """The stores of all content, on *driver*, with their pending writes.

    *announce*: announces changed keys to other daemons on the same store. *totals*: how much is stored.
    """

    driver: IDriver
    blobs: BlobStore
    manifests: ManifestStore
    tags: TagStore
    pending: PendingWrites
    announce: Callable[[Sequence[str]], Awaitable[None]] = _nobody
    totals: StoredTotals = field(factory=StoredTotals)


@frozen
class _Plan:
    """The objects to remove: tags as pairs of repository and name, manifests and blobs."""

    tags: tuple[tuple[str, str], ...] = ()
    manifests: tuple[ManifestEntry, ...] = ()
    blobs: tuple[BlobEntry, ...] = ()


class Removals:
    """Removes and refreshes images in *content*.

    *busy*: whether a blob is being downloaded. *now*: the time in seconds since the epoch.
    """

    def __init__(
        self,
        content: Content,
        index: Index,
        busy: Callable[[Digest], bool],
        now: Callable[[], float],
    ) -> None:
        self._content = content
        self._index = index
        self._busy = busy
        self._now = now

    async def remove(self, subject: Subject, pinned: Pinned, *, blobs: bool) -> Removal:
        """Remove a tag, or a digest with its tags; see `Source.remove`."""
        indexed = await self._prepare(subject, blobs=blobs)
        _check_hold(subject, pinned)
        digest = subject.digest
        if digest is None:
            record = await self.record(subject)
            if record is None:
                raise NotStored(f"{subject} is not stored")
            digest = record.digest
        plan = None
        if indexed:
            try:
                await look_at(self._index, subject, digest)
                plan = await self._index.ask(_plan(subject, digest, pinned, blobs=blobs))
            except NotReady:
                if blobs:
                    raise
        if plan is None:
            going = await self._tags_naming(subject, digest)
            _check_pins(subject, digest, going, pinned)
            plan = _Plan(tuple(going))
        unknown = subject.digest is not None and not plan.manifests
        if unknown and await self._content.manifests.peek(subject.registry, digest) is None:
            raise NotStored(f"{subject} is not stored")
        removal = await self._carry_out(subject.registry, plan)
        if unknown:
            # The record was about to be written, or there is no index.
            key = manifest_key(subject.registry, digest)
            await self._content.pending.discard(key)
            info = await self._content.driver.stat(key)
            await self._delete_manifest(subject.registry, digest, 0 if info is None else info.size)
            await self._content.announce([key])
            removal = evolve(removal, manifests=(str(digest),))
        if subject.digest is not None and subject.repository is not None:
            await self._forget_original(subject.registry, subject.repository, subject.digest)
        await self._index.flush()
        return removal

    async def _prepare(self, subject: Subject, *, blobs: bool) -> bool:
        """Update the index; return whether it is usable. Raises if it is not, and *blobs* need it."""
        try:
            if blobs:
                await self._index.catch_up(entirely=True)
            elif subject.tag is None:
                await self._index.catch_up()
            else:
                await self._index.flush()
        except NotReady:
            if blobs:
                raise
            return False
        if blobs and not self._index.is_whole:
            # The index may lack a manifest that needs a blob.
            raise NotReady("the index of the store is being built: try again later")
        return self._index.is_whole or not self._index.is_shared

    async def _tags_naming(self, subject: Subject, digest: Digest) -> list[tuple[str, str]]:
        """Return the tag that is meant, or those of the repository that name a digest."""
        host, repository = subject.registry, subject.repository
        if repository is None:
            return []
        if subject.tag is not None:
            return [(repository, subject.tag)]
        found = []
        for tag in await self._content.tags.names(host, repository, _MOST_TAGS):
            record = await self._content.tags.peek(host, repository, tag)
            if record is not None and record.digest == digest:
                found.append((repository, tag))
        return found

    async def remove_blob(self, digest: Digest) -> Removal:
        """Remove a blob; see `Source.remove_blob`."""
        if self._in_use(digest):
            raise InUse(f"{digest} is being read or written: try again later")
        info = await self._content.driver.stat(blob_key(digest))
        if info is None or not await self._content.blobs.discard(digest):
            raise NotStored(f"the blob {digest} is not stored")
        self._content.totals.remove(info.size)
        await self._index.flush()
        return Removal((), (), (str(digest),), info.size, ())

    async def refresh(self, subject: Subject) -> Refreshed:
        """Have the next pull of a tag ask upstream; see `Source.refresh`."""
        if subject.repository is None or subject.tag is None:
            raise InvalidName(f"{subject}: only a tag can be refreshed, a digest never changes")
        record = await self.record(subject)
        if record is None:
            raise NotStored(f"{subject} is not stored")
        key = tag_key(subject.registry, subject.repository, subject.tag)
        # Like a tag from a bundle: upstream is asked, and if it does not respond, the tag is still served.
        names = (subject.registry, subject.repository, subject.tag)
        again = evolve(record, imported=True)
        self._content.tags.remember(*names, again)
        await self._content.pending.discard(key)
        await self._content.tags.put(*names, again)
        await self._content.announce([key])
        return Refreshed(str(subject), str(record.digest))

    async def record(self, subject: Subject) -> TagRecord | None:
        """Return the record of a tag."""
        if subject.repository is None or subject.tag is None:
            return None
        return await self._content.tags.peek(subject.registry, subject.repository, subject.tag)

    async def _carry_out(self, host: str, plan: _Plan) -> Removal:
        began, content = self._now(), self._content
        # Tags first, then manifests, then blobs: if this ends early, nothing refers to removed objects.
        for repository, tag in plan.tags:
            content.tags.forget(host, repository, tag)
            await content.pending.discard(tag_key(host, repository, tag))
            await content.tags.delete(host, repository, tag)
            await self._forget_original(host, repository, Tag(tag))
        for manifest in plan.manifests:
            await self._delete_manifest(host, manifest.digest, manifest.size)
        await content.announce(
            [
                *(tag_key(host, *tag) for tag in plan.tags),
                *(manifest_key(host, manifest.digest) for manifest in plan.manifests),
            ]
        )
        removed: dict[Digest, int] = {}
        kept: list[Digest] = []
        for start in range(0, len(plan.blobs), _BATCH):
            batch = {blob.digest: blob.size for blob in plan.blobs[start : start + _BATCH]}
            unused = [digest for digest in batch if not self._is_used(digest, began)]
            kept += [digest for digest in batch if digest not in unused]
            for digest in await content.blobs.discard_many(unused):
                removed[digest] = batch[digest]
                content.totals.remove(batch[digest])
        return Removal(
            tuple(name_of(host, repository, Tag(tag)) for repository, tag in plan.tags),
            tuple(str(manifest.digest) for manifest in plan.manifests),
            tuple(map(str, removed)),
            sum(manifest.size for manifest in plan.manifests) + sum(removed.values()),
            tuple(map(str, kept)),
        )

    async def _delete_manifest(self, host: str, digest: Digest, size: int) -> None:
        await self._content.pending.discard(manifest_key(host, digest))
        if await self._content.manifests.delete(host, digest):
            self._content.totals.remove(size)

    def _in_use(self, digest: Digest) -> bool:
        return self._busy(digest) or self._content.blobs.in_use(digest)

    def _is_used(self, digest: Digest, began: float) -> bool:
        return self._in_use(digest) or self._content.blobs.used_since(digest, began)

    async def _forget_original(self, host: str, repository: str, reference: Reference) -> None:
        """Remove the image's manifest of mcronce/oci-registry, which would be taken over again."""
        await self._content.driver.delete(f"{FOLDER}/{host}/{repository}/{reference}")


def _plan(subject: Subject, digest: Digest, pinned: Pinned, *, blobs: bool) -> Query[_Plan]:
    """Return what to remove; raise `IsPinned`."""

    def query(books: Books) -> _Plan:
        host, content = books.known_host(subject.registry), books.known_content(digest)
        tree = read_tree(books, subject.registry, digest)
        tags: list[tuple[str, str]] = []
        if content is not None and host is not None:
            tags = tags_of(books, host, content, _MOST_TAGS)
        going = tags
        if subject.tag is not None and subject.repository is not None:
            going = [(subject.repository, subject.tag)]
        _check_pins(subject, digest, going, pinned)
        others = set(tags) - set(going)
        needed = Needed((), ())
        if blobs and not others and not pinned.keeps(subject.registry, digest):
            needed = needed_only_by(books, tree, pinned.keeps)
        manifests = list(needed.manifests)
        if subject.digest is not None and tree.entry is not None and tree.entry not in manifests:
            manifests.insert(0, tree.entry)
        return _Plan(tuple(going), tuple(manifests), needed.blobs)

    return query


def _check_pins(
    subject: Subject, digest: Digest, going: Sequence[tuple[str, str]], pinned: Pinned
) -> None:
    """Raise `IsPinned` if one of the tags to remove is pinned, or the digest to remove."""
    who = pinned.why(subject.registry, digest, going, by_digest=subject.digest is not None)
    if who:
        raise IsPinned(f"{subject} is pinned {' and '.join(who)}: unpin it first")


def _check_hold(subject: Subject, pinned: Pinned) -> None:
    """Raise `IsPinned` for a held tag, which would still be served, or a digest that a tag is held at."""
    host, repository, tag = subject.registry, subject.repository, subject.tag
    if repository is not None and tag is not None:
        at = pinned.held_at(host, repository, tag)
        if at is not None:
            raise IsPinned(f"{subject} is held at {at}: release it first")
    holder = None if subject.digest is None else pinned.holder(host, subject.digest)
    if holder is not None:
        name = name_of(host, holder[0], Tag(holder[1]))
        raise IsPinned(f"{name} is held at {subject}: release it first")
