"""Takes corrupt objects out of service, and stores them again if possible."""

from __future__ import annotations

from contextlib import suppress

from attrs import frozen

from oci_registry.eviction.announcements import Announce
from oci_registry.scrub.checks import Checked
from oci_registry.scrub.nouns import Fault, Kind, Mender, Outcome, Subject
from oci_registry.scrub.quarantine import Quarantine
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import manifest_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore


class NoMender:
    """A mender without a daemon: it knows no images and fetches nothing."""

    async def images(self, subject: Subject) -> tuple[str, ...]:
        """Return none."""
        return ()

    async def repository(self, subject: Subject) -> str | None:
        """Return None."""
        return None

    async def fetch(self, subject: Subject) -> bool:
        """Leave it to the next pull."""
        return False


@frozen
class Stores:
    """The stores that a scrub works on, and their driver."""

    driver: IDriver
    blobs: BlobStore
    manifests: ManifestStore
    tags: TagStore
    referrers: ReferrersStore


class Healing:
    """Takes corrupt objects of *stores* out of service. *quarantine*: None if they are removed.

    *announce*: tells other daemons on the same store which blobs are corrupt; None: there are none.
    Unreadable objects are never removed, since they may be right.
    """

    def __init__(
        self,
        stores: Stores,
        quarantine: Quarantine | None,
        mender: Mender | None = None,
        announce: Announce | None = None,
    ) -> None:
        self._stores = stores
        self._quarantine = quarantine
        self._mender = mender or NoMender()
        self._announce = announce

    async def heal(self, checked: Checked, *, fetch: bool) -> Fault:
        """Take an object out of service, and store it again; return the outcome.

        *fetch*: whether it may be fetched from its registry. Errors of the store are in the `Fault`.
        """
        subject, size = checked.subject, checked.info.size
        reason = checked.reason or "it is corrupt"
        problem: str | None = None
        images: tuple[str, ...] = ()
        if subject.kind is not Kind.BLOB:
            # The account may not be complete without this. The manifest is verified at each read, so
            # there is time.
            images = await self._mender.images(subject)
        repository = (
            await self._mender.repository(subject) if subject.kind is Kind.MANIFEST else None
        )
        try:
            outcome = await self._take_out(checked)
        except StoreError as error:
            outcome, problem = Outcome.LEFT, str(error)
        if subject.kind is Kind.BLOB:
            images = await self._mender.images(subject)
        restored = False
        if outcome in (Outcome.QUARANTINED, Outcome.REMOVED):
            restored = await self._restore(subject, repository) or (
                fetch
                and subject.kind in (Kind.BLOB, Kind.MANIFEST)
                and await self._mender.fetch(subject)
            )
        return Fault(subject, size, reason, outcome, images, problem, restored)

    async def leave(self, checked: Checked, problem: str) -> Fault:
        """Leave an unreadable object where it is; a blob is served no longer. *problem*: why it is left."""
        subject = checked.subject
        if subject.kind is Kind.BLOB and subject.digest is not None:
            self._stores.blobs.suspend(subject.digest)
        images = await self._mender.images(subject)
        reason = checked.reason or "it cannot be read"
        return Fault(subject, checked.info.size, reason, Outcome.LEFT, images, problem)

    async def _take_out(self, checked: Checked) -> Outcome:
        subject, found, target = checked.subject, checked.inspected, None
        stores = self._stores
        if subject.kind is Kind.BLOB and subject.digest is not None:
            # At once, since making room in the quarantine takes time.
            stores.blobs.suspend(subject.digest)
            await self._tell_others(subject.key)
        try:
            if self._quarantine is not None:
                target = await self._quarantine.admit(subject.key, checked.info.size)
        except StoreError:
            # The quarantine may have no room; then the object is removed, unless it is unreadable.
            if checked.unreadable:
                raise
        if checked.unreadable and target is None:
            # The object may be right, and only the disk or its permissions may be wrong.
            raise StoreError(
                "what cannot be read is not removed"
                if self._quarantine is None
                else "there is no room for it in the quarantine"
            )
        if subject.digest is not None and subject.kind is Kind.BLOB:
            moved = await stores.blobs.withdraw(subject.digest, found, target)
        elif subject.digest is not None and subject.kind is Kind.MANIFEST:
            moved = await stores.manifests.withdraw(found, target)
        else:
            moved = await found.withdraw(target)
        if not moved:
            return Outcome.REPLACED
        return Outcome.REMOVED if target is None else Outcome.QUARANTINED

    async def _tell_others(self, key: str) -> None:
        if self._announce is not None:
            # What follows fails too if the store does.
            with suppress(StoreError):
                await self._announce([key])

    async def _restore(self, subject: Subject, repository: str | None) -> bool:
        """Store an object again from memory, or else forget that it was stored.

        *repository*: the one that a manifest was pulled from, if it is known.
        """
        try:
            match subject.kind:
                case Kind.MANIFEST:
                    return await self._restore_manifest(subject, repository)
                case Kind.TAG:
                    return await self._restore_tag(subject)
                case Kind.REFERRERS:
                    names = str(subject.host), str(subject.repository)
                    assert subject.digest is not None
                    # Another process has just stored the object that is there now.
                    self._stores.referrers.drop(*names, subject.digest)
        except StoreError:
            # Missing content is fetched at the next request.
            pass
        return False

    async def _restore_manifest(self, subject: Subject, repository: str | None) -> bool:
        assert subject.host is not None and subject.digest is not None
        manifest = await self._stores.manifests.peek(subject.host, subject.digest)
        if manifest is None:
            return False
        await self._stores.manifests.put(subject.host, manifest, repository)
        return True

    async def _restore_tag(self, subject: Subject) -> bool:
        names = str(subject.host), str(subject.repository), str(subject.tag)
        record = self._stores.tags.recall(*names)
        if record is None or await self._stores.driver.stat(subject.key) is not None:
            # Another process has just stored the object that is there now.
            self._stores.tags.drop(*names)
            return False
        await self._stores.tags.put(*names, record)
        return True

    async def is_dangling(self, checked: Checked) -> bool:
        """Whether a tag names a manifest that is not stored, and is not in memory either."""
        tag, digest = checked.subject, checked.names
        if digest is None or tag.host is None:
            return False
        key = manifest_key(tag.host, digest)
        if await self._stores.driver.stat(key) is not None:
            return False
        manifest = Subject(key, Kind.MANIFEST, digest, tag.host)
        return not await self._restore(manifest, tag.repository)
