"""The store as commands use it: without a daemon, one call after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from attrs import frozen

from oci_registry.account.changes import Changes
from oci_registry.account.observed import ObservedDriver, Observer
from oci_registry.account.schema import FILE
from oci_registry.commands.problems import CommandFailed
from oci_registry.commands.running import LANES, CommandClock, at_once, now
from oci_registry.config.settings import FilesystemSettings, StorageSettings
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.spec.digest import Digest, Verifier
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers import make_driver
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.histories import HistoryStore, Sighting
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.interfaces import IDriver, IStoredObject
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key, tag_key
from oci_registry.storage.lock import StoreInUse, StoreLock
from oci_registry.storage.manifests import ManifestStore, unpack
from oci_registry.storage.referrers import KeptReferrers, ReferrersStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader

CHUNK = 1024 * 1024
"""Bytes of a blob that are read at once."""
_LARGEST_MANIFEST = MAX_MANIFEST_SIZE + 1024


class WrongContent(CommandFailed):
    """Stored content does not match its digest, or is malformed."""


@frozen
class _Records:
    """Writes changed records of tags at once."""

    tags: TagStore
    histories: HistoryStore

    async def replace(
        self, host: str, repository: str, tag: str, record: TagRecord, seen: Iterable[Sighting]
    ) -> None:
        """Write the record, and add to the history of the tag."""
        await self.tags.put(host, repository, tag, record)
        self.histories.remember(host, repository, tag, seen)
        await self.histories.write(host, repository, tag)


@frozen
class CommandStore:
    """Reads a store without changing it, and writes to it; all methods may raise `StoreError`.

    `start` is needed before the first write, `stop` after the last one. *medium*: the driver itself,
    *driver*: the wrapper that the stores use.
    """

    medium: IDriver
    driver: IDriver
    clock: CommandClock
    usage: Usage
    blobs: BlobStore
    manifests: ManifestStore
    tags: TagStore

    @classmethod
    def on(
        cls, medium: IDriver, clock: CommandClock, observer: Observer | None = None
    ) -> CommandStore:
        """Return the store on a driver whose calls are made at once, with an *observer* of changes."""
        driver: IDriver = medium if observer is None else ObservedDriver(medium, observer)
        usage = Usage(driver, clock)
        return cls(
            medium,
            driver,
            clock,
            usage,
            BlobStore(driver, usage, at_once, check_always=False),
            ManifestStore(driver, usage, ManifestReader(at_once)),
            TagStore(driver),
        )

    @classmethod
    def open(cls, settings: StorageSettings, observer: Observer | None = None) -> CommandStore:
        """Return the store that these settings describe; nothing is read yet."""
        clock = CommandClock(time.time)
        return cls.on(make_driver(settings, LANES, clock), clock, observer)

    # -- reading

    def tag(self, image: ImageName) -> TagRecord | None:
        """Return the record of an image's tag."""
        assert isinstance(image.reference, Tag)
        record = self.tags.peek(image.registry, image.repository, image.reference.name)
        return now(record)

    def manifest(self, registry: str, digest: Digest) -> Manifest | None:
        """Return a manifest; raise `WrongContent` if the stored bytes are not this manifest."""
        stored = now(self.driver.get(manifest_key(registry, digest), _LARGEST_MANIFEST))
        if stored is None:
            return None
        try:
            return unpack(digest, [stored])
        except (RegistryError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise WrongContent(f"the stored manifest {digest} is corrupt: {error}") from None

    def referrers(self, registry: str, repository: str, digest: Digest) -> KeptReferrers | None:
        """Return the list of referrers of a manifest; None if none is stored, or it is unreadable."""
        return now(ReferrersStore(self.driver, self.usage).peek(registry, repository, digest))

    def has_referrers(self, registry: str, repository: str, digest: Digest) -> bool:
        """Whether a list of referrers of a manifest is stored, readable or not."""
        return now(self.driver.stat(referrers_key(registry, repository, digest))) is not None

    def size(self, digest: Digest) -> int | None:
        """Return the size of a blob in bytes; None if there is none."""
        info = now(self.driver.stat(blob_key(digest)))
        return None if info is None else int(info.size)

    def has_verified(self, digest: Digest, size: int) -> bool:
        """Whether a verified blob of this size is stored, which need not be hashed again."""
        info = now(self.driver.stat(blob_key(digest)))
        return info is not None and info.sealed and info.size == size

    def blob(self, digest: Digest) -> Iterator[bytes]:
        """Yield a blob; raise `WrongContent` at its end if it does not have its digest."""
        stored: IStoredObject | None = now(self.driver.open(blob_key(digest)))
        if stored is None:
            raise WrongContent(f"the blob {digest} is not stored any more")
        verifier = Verifier(digest)
        try:
            while data := now(stored.read(verifier.length, CHUNK)):
                verifier.update(data)
                yield data
        finally:
            stored.close()
        if not verifier.verified():
            raise WrongContent(f"the stored blob {digest} is corrupt: it has {verifier.actual()}")

    def free(self) -> int | None:
        """Return the free bytes of the volume; None if there is no such limit."""
        space = now(self.driver.space())
        return None if space is None else int(space.free)

    # -- writing

    def start(self) -> None:
        """Prepare the store for writing."""
        now(self.driver.start())

    def stop(self) -> None:
        """Write everything that is only in memory."""
        now(self.driver.stop())

    def add_blob(self, digest: Digest, size: int, pieces: Iterator[bytes]) -> None:
        """Store a blob; raise `WrongContent` and store nothing if it does not have its digest."""
        writer = now(self.blobs.create(digest, size))
        verifier = Verifier(digest)
        try:
            for piece in pieces:
                verifier.update(piece)
                writer.append(piece)
            if not verifier.verified():
                raise WrongContent(f"the blob {digest} has changed while it was read")
            now(writer.commit())
        finally:
            now(writer.cancel())
            writer.close()

    def add_manifest(
        self, registry: str, manifest: Manifest, repository: str | None = None
    ) -> None:
        """Store a manifest of a registry, with its repository."""
        now(self.manifests.put(registry, manifest, repository))

    def add_tag(self, image: ImageName, record: TagRecord) -> None:
        """Store the record of a tag."""
        now(self.tags.put(image.registry, image.repository, str(image.reference), record))

    def add_referrers(
        self, registry: str, repository: str, digest: Digest, kept: KeptReferrers
    ) -> None:
        """Store the list of referrers of a manifest."""
        now(ReferrersStore(self.driver, self.usage).put(registry, repository, digest, kept))

    def add_history(self, image: ImageName, seen: Iterable[Sighting]) -> None:
        """Add to the history of a tag."""
        names = (image.registry, image.repository, str(image.reference))
        histories = HistoryStore(self.driver)
        histories.remember(*names, seen)
        now(histories.write(*names))

    def control(self) -> TagControl:
        """Return the `TagControl` for the store; no registry is asked."""
        histories = HistoryStore(self.driver)

        async def obtain(host: str, _repository: str, digest: Digest) -> Manifest | None:
            return self.manifest(host, digest)

        return TagControl(
            self.tags,
            histories,
            HoldStore(self.driver),
            _Records(self.tags, histories),
            obtain,
            lambda *_: None,
            self.clock.seconds,
        )

    def used(self, key: str) -> None:
        """Count an object as used now."""
        now(self.driver.touch(key, self.clock.seconds()))

    def remove(self, key: str) -> None:
        """Remove an object."""
        now(self.driver.delete(key))


def tag_place(image: ImageName) -> str:
    """Return the key of an image's tag."""
    return tag_key(image.registry, image.repository, str(image.reference))


def readable(settings: StorageSettings) -> CommandStore:
    """Return a store for reading, which must exist."""
    if isinstance(settings, FilesystemSettings) and not os.path.isdir(settings.root):
        raise CommandFailed(f"there is no store in {settings.root}")
    return CommandStore.open(settings)


def owner_of(root: str) -> int | None:
    """Return the number of the user that a directory belongs to; None if there is none."""
    try:
        return os.stat(root).st_uid
    except FileNotFoundError:
        return None


def _check_owner(root: str) -> None:
    """Raise `CommandFailed` if root would create files in another user's store, who could not use them."""
    owner = owner_of(root)
    if os.geteuid() == 0 and owner:
        raise CommandFailed(
            f"the store {root} belongs to user {owner}: run the command as this user"
        )


class Exclusive:
    """A store for changes, with the lock that prevents a daemon from starting on it.

    A bucket has no lock: daemons on it learn of changes as from any other replica.
    """

    def __init__(self, settings: StorageSettings) -> None:
        local = isinstance(settings, FilesystemSettings)
        self._lock = StoreLock(settings.root) if local else None  # type: ignore[union-attr]
        self.changes = Changes()
        self._store = CommandStore.open(settings, self.changes)

    def __enter__(self) -> CommandStore:
        if self._lock is not None:
            _check_owner(self._lock.root)
            try:
                self._lock.take()
            except StoreInUse as error:
                raise CommandFailed(str(error)) from None
        try:
            self._store.start()
        except BaseException:
            self._release()
            raise
        return self._store

    def __exit__(self, *_: object) -> None:
        try:
            self._store.stop()
            medium = self._store.medium
            if isinstance(medium, FilesystemDriver):
                self.changes.note(str(medium.path(FILE)), medium, self._store.clock.seconds())
        finally:
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
