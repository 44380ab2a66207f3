"""Manifests and tags that are known without asking upstream, in memory and in the store."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.holding import Holding
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.pullthrough.tag_policy import Decision, decide, sightings_of
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import Unavailable
from oci_registry.spec.manifest import Manifest, PackedManifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.histories import HistoryStore, Sighting, TagHistory
from oci_registry.storage.holds import Hold, Names
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import history_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.original import OriginalManifests
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.streams.recent import RecentValues
from oci_registry.upstream.table import Target

NEGATIVE_TAGS = 10_000
"""Entries of the negative cache of known tags."""
BEGUN_HISTORIES = 10_000
"""Tags whose history is known to be stored."""


class KnownManifests:
    """Manifests and tags in memory and in the store; writes go on in the background, no method raises.

    What could not be written is served from memory, and is written again when a client asks for it later.
    Until then it does not become a ready answer. Content of *originals* is taken over when it is first
    requested.
    """

    def __init__(
        self,
        manifests: ManifestStore,
        tags: TagStore,
        writer: RecordWriter,
        clock: IReactorTime,
        health: StoreHealth,
        originals: OriginalManifests,
        histories: HistoryStore,
        holding: Holding,
    ) -> None:
        self._manifests = manifests
        self._tags = tags
        self._writer = writer
        self._clock = clock
        self._health = health
        self._originals = originals
        self._histories = histories
        self._holding = holding
        holding.watch(self._hold_changed)
        self._negative: RecentValues[bool] = RecentValues(NEGATIVE_TAGS)
        # By the keys of the histories.
        self._begun: RecentValues[bool] = RecentValues(BEGUN_HISTORIES)

    def recall(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest if it is in memory."""
        return self._manifests.recall(target.upstream.namespace, digest)

    def manifest_at(self, key: str) -> PackedManifest | None:
        """Return the manifest at a key of the store if it is in memory: another object after each change.

        None if it could not be written.
        """
        return None if self._writer.is_lost(key) else self._manifests.packed_at(key)

    async def manifest(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest; None if it is not stored or cannot be read."""
        recent = self.recall(target, digest)
        if recent is not None:
            self._repeat(target, recent)
            return recent
        return await self._health.or_default(READ, self._find(target, digest), None)

    async def is_stored(self, host: str, digest: Digest) -> bool:
        """Whether a manifest is stored, without counting as a use; true if the store cannot be read.

        One that is only in memory, since it could not be written, is not.
        """
        if self._writer.is_lost(manifest_key(host, digest)):
            return False

        async def look() -> bool:
            return await self._manifests.peek(host, digest) is not None

        return await self._health.or_default(READ, look(), True)

    async def _find(self, target: Target, digest: Digest) -> Manifest | None:
        host = target.upstream.namespace
        manifest = await self._manifests.get(host, digest)
        if manifest is None:
            original = await self._originals.get(host, target.repository, digest)
            if original is not None:
                manifest = original.manifest
                self.keep(target, manifest)
        return manifest

    def keep(self, target: Target, manifest: Manifest) -> None:
        """Keep a manifest from upstream: in memory at once, in the store soon."""
        host = target.upstream.namespace
        self._manifests.remember(host, manifest)
        self._writer.write(
            manifest_key(host, manifest.digest),
            lambda: self._manifests.put(host, manifest, target.repository),
            size=len(manifest.raw),
        )

    def _repeat(self, target: Target, manifest: Manifest) -> None:
        """Write a manifest again if that failed before."""
        if self._writer.may_repeat(manifest_key(target.upstream.namespace, manifest.digest)):
            self.keep(target, manifest)

    def recall_tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return the record of a tag if it is in memory."""
        return self._tags.recall(*_names(target, tag))

    def tag_form(self, key: str) -> bytes | None:
        """Return what is in memory of the record at a key of the store: another object after each change."""
        return self._tags.form_at(key)

    def tag_at(self, key: str) -> bytes | None:
        """Return `tag_form`; None if the tag must be revalidated, or the record could not be written."""
        if self._negative.peek(key) is not None or self._writer.is_lost(key):
            return None
        return self._tags.form_at(key)

    async def tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return the record of a tag; None if it is not stored or cannot be read."""
        record = await self._health.or_default(READ, self._find_tag(target, tag), None)
        names = _names(target, tag)
        if record is not None and self._writer.may_repeat(tag_key(*names)):
            self._repeat_tag(target, names, record)
        return record

    def _repeat_tag(self, target: Target, names: Names, record: TagRecord) -> None:
        """Write the record of a tag again, since that failed before."""
        manifest = self.recall(target, record.digest)
        if manifest is not None:
            # Before the record that names it.
            self._repeat(target, manifest)
        self._write(names, record)

    async def _find_tag(self, target: Target, tag: Tag) -> TagRecord | None:
        names = _names(target, tag)
        record = await self._tags.get(*names)
        if record is not None or self.is_negative(target, tag):
            return record
        original = await self._originals.get(target.upstream.namespace, target.repository, tag)
        record = self._tags.recall(*names)
        if original is None or record is not None:
            # Upstream may have been asked meanwhile: that is newer.
            return record
        manifest = original.manifest
        self.keep(target, manifest)
        record = TagRecord(manifest.digest, manifest.media_type, original.written)
        self._tags.remember(*names, record)
        # It may have been confirmed, moved and evicted here since then.
        self._negative.put(tag_key(*names), True)
        return record

    def is_negative(self, target: Target, tag: Tag) -> bool:
        """Whether a tag must be revalidated, however new: refused by upstream, or taken over."""
        return tag_key(*_names(target, tag)) in self._negative

    async def hold(self, target: Target, tag: Tag) -> Hold | None:
        """Return the hold of a tag; None if there is none."""
        return await self._holding.find(*_names(target, tag))

    def recall_hold(self, target: Target, tag: Tag) -> Hold | None:
        """Return the hold of a tag, as far as the holds are in memory."""
        return self._holding.recall(*_names(target, tag))

    def _hold_changed(self, names: Names) -> None:
        self._tags.renew(*names)

    async def decide(self, target: Target, tag: Tag, named: Digest) -> Decision:
        """Return which digest to serve, now that upstream says that a tag means *named*.

        Raises `Unavailable` if a minimum age applies, and the store cannot say whether the tag is new.
        """
        names = _names(target, tag)
        min_age = target.upstream.settings.min_age.of(target.repository, tag.name)
        record, history = self._tags.recall(*names), None
        if min_age > 0 and (record is None or record.digest != named):
            history = await self._past(target, tag)
            # Another request may have changed it meanwhile.
            record = self._tags.recall(*names)
        now = self._clock.seconds()
        return decide(record, history or TagHistory(), named, min_age, now)

    async def _past(self, target: Target, tag: Tag) -> TagHistory | None:
        """Return the history of a tag; its record is in memory afterwards, if there is one."""
        names = _names(target, tag)
        try:
            if self._tags.recall(*names) is None:
                # That an earlier attempt has failed does not make the tag a new one.
                await self._find_tag(target, tag)
            history = await self._histories.get(*names)
        except StoreError as error:
            self._health.record_failure(READ, error)
            history = self._histories.recall(*names)
            is_known = history is not None and history.last_adopted is not None
            if is_known or self._tags.recall(*names) is not None:
                return history
            raise Unavailable(
                f"the tag {tag} has a minimum age, and the store cannot be read to see what it meant before"
            ) from None
        self._health.record_success(READ)
        return history

    def confirm(self, target: Target, tag: Tag, manifest: Manifest, decision: Decision) -> None:
        """Record upstream's latest response about a tag; *manifest* is the one that is served for it.

        The record is written after the manifest. It is not written again if only its time has changed a
        little.
        """
        names = _names(target, tag)
        before, now = self._tags.recall(*names), self._clock.seconds()
        if before and decision.waiting and decision.waiting.digest == before.digest:
            # An operator has adopted it meanwhile.
            return
        seen = next((one for one in decision.seen if one.digest == manifest.digest), None)
        first = now if seen is None else seen.first
        record = TagRecord(
            manifest.digest, manifest.media_type, now, first=first, waiting=decision.waiting
        )
        self._negative.remove(tag_key(*names))
        self._tags.remember(*names, record)
        if not self._tags.is_stored(*names, record):
            self._write(names, record)
        if decision.moved and (before is not None or self._has_min_age(target, tag)):
            # A tag that has never moved has its whole history in its record.
            self._add_to_history(names, decision.seen)
        elif history_key(*names) not in self._begun and self._has_min_age(target, tag):
            # It was known before a minimum age was set. Without a history it would be new once its record
            # is evicted.
            self._begin_history(names, decision.seen)

    def _has_min_age(self, target: Target, tag: Tag) -> bool:
        return target.upstream.settings.min_age.of(target.repository, tag.name) > 0

    def _begin_history(self, names: Names, seen: Sequence[Sighting]) -> None:
        """Write a history unless there is one."""

        async def begin() -> None:
            await self._histories.begin(*names, seen)
            self._begun.put(history_key(*names), True)

        self._writer.write(history_key(*names), begin)

    def _add_to_history(self, names: Names, seen: Sequence[Sighting]) -> None:
        self._begun.put(history_key(*names), True)
        self._histories.remember(*names, seen)

        async def write() -> None:
            try:
                await self._histories.write(*names)
            except StoreError:
                self._begun.remove(history_key(*names))
                raise

        self._writer.write(history_key(*names), write)

    def _write(self, names: Names, record: TagRecord) -> None:
        """Write a record after its manifest, and remove it if that was evicted meanwhile."""

        async def write() -> None:
            await self._tags.put(*names, record)
            found = self._manifests.peek(names[0], record.digest)
            there = await self._health.or_default(READ, _is_there(found), True)
            if not there and self._tags.recall(*names) == record:
                await self._tags.delete(*names)

        self._writer.write(
            tag_key(*names),
            write,
            after=manifest_key(names[0], record.digest),
        )

    async def replace(
        self,
        host: str,
        repository: str,
        tag: str,
        record: TagRecord,
        seen: Sequence[Sighting],
    ) -> None:
        """Serve a record for a tag from now on, and add to the history of the tag."""
        names = (host, repository, tag)
        self._tags.remember(*names, record)
        self._write(names, record)
        self._add_to_history(names, seen)

    def set_negative(self, target: Target, tag: Tag, *, gone: bool) -> None:
        """Record that upstream has just refused a known tag; *gone*: because it no longer exists.

        Then its history stays, so that another digest does not pass as the first one of an unknown tag.
        """
        names = _names(target, tag)
        self._negative.put(tag_key(*names), True)
        if gone:
            seen = sightings_of(self._tags.recall(*names))
            if seen and self._has_min_age(target, tag):
                self._add_to_history(names, seen)
            self._tags.forget(*names)
            self._writer.write(tag_key(*names), lambda: self._tags.delete(*names), important=True)


def _names(target: Target, tag: Tag) -> Names:
    return target.upstream.namespace, target.repository, tag.name


async def _is_there(manifest: Awaitable[Manifest | None]) -> bool:
    return await manifest is not None
