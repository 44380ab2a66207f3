"""The store of blobs by digest, which are verified before they are served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from attrs import frozen
from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
)
from oci_registry.storage.keys import BLOBS, blob_key, parse_blob_key
from oci_registry.storage.open_blob import Readers, StoredBlob
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.threads import RunInThread


@frozen
class BlobStoreLimits:
    """Limits of a blob store. *hashed_at_once*: bytes. *remembered*: the number of verified sizes in memory.

    *withdrawn*: the number of corrupt blobs that are remembered until they are stored again.
    """

    hashed_at_once: int = 1024 * 1024
    remembered: int = 1000
    withdrawn: int = 10_000


class BlobStore:
    """Blobs by digest, on a driver.

    A blob that another program has stored is hashed when it is first opened. *check_always*: hash
    every blob on every opening. *totals*: counts new and removed blobs. All methods may raise
    `StoreError`.
    """

    _log = Logger()

    def __init__(
        self,
        driver: IDriver,
        usage: Usage,
        hashing: RunInThread,
        totals: StoredTotals | None = None,
        limits: BlobStoreLimits = BlobStoreLimits(),
        *,
        check_always: bool,
    ) -> None:
        self._driver = driver
        self._usage = usage
        self._hashing = hashing
        self._totals = totals or StoredTotals()
        self._limits = limits
        self._check_always = check_always
        self._verifying: SingleFlight[Digest, bool] = SingleFlight()
        self._readers: Readers = {}
        # A bounded set, as keys without values.
        self._withdrawn: LRUCache[Digest, None] = LRUCache(limits.withdrawn)
        self._withdrawals = 0
        self._hashed: RecentValues[int] = RecentValues(limits.remembered)
        self.cut: Callable[[], None] = lambda: None
        """Called when blobs that are being read must not be sent any more."""
        self.interrupted: Callable[[Digest], None] = lambda _: None
        """Called with a corrupt blob, which clients of its download may still be reading."""

    async def size(self, digest: Digest, expected: int | None = None) -> int | None:
        """Return the size of a stored blob in bytes, or None. *expected*: as for `open`."""
        if digest in self._withdrawn:
            return None
        key = blob_key(digest)
        info: ObjectInfo | None = await self._driver.stat(key)
        if info is None or digest in self._withdrawn:
            return None
        if self._needs_check(digest, info, expected) and not await self._verified(digest):
            return None
        self._usage.used(key)
        return info.size

    async def open(
        self,
        digest: Digest,
        head: int = 0,
        expected: int | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> StoredBlob | None:
        """Open a stored blob; return None if there is none. A wrong one is removed.

        *head*: how many bytes at *start* to read on opening. *stop*: the end of the range to read,
        exclusive. *expected*: the size that a manifest states; if the blob has another, it is hashed
        again.
        """
        key = blob_key(digest)
        stored = await self._open_current(digest, lambda: self._driver.open(key, head, start, stop))
        if stored is None:
            return None
        blob = StoredBlob(digest, stored, self._readers, start)
        if self._check_always or self._needs_check(digest, stored.info, expected):
            try:
                right = await self._verified(digest)
            except BaseException:
                blob.close()
                raise
            if not right:
                blob.close()
                return None
        self._usage.used(key)
        return blob

    async def _open_current(
        self, digest: Digest, begin: Callable[[], Deferred[IStoredObject | None]]
    ) -> IStoredObject | None:
        """Open a blob that is not withdrawn, and was not while it was being opened."""
        while digest not in self._withdrawn:
            before = self._withdrawals
            stored = await begin()
            if stored is None or self._withdrawals == before:
                return stored
            stored.close()
        return None

    def _needs_check(self, digest: Digest, info: ObjectInfo, expected: int | None) -> bool:
        if not info.sealed:
            return True
        # A manifest may state a wrong size; the blob is hashed for that only once.
        return expected not in (None, info.size) and self._hashed.get(str(digest)) != info.size

    async def link(self, digest: Digest, expected: int | None = None) -> str | None:
        """Return a URL at which clients can fetch a stored blob, or None.

        *expected*: as for `open`.
        """
        url: str | None = await self._driver.link(blob_key(digest))
        return url if url is not None and await self.size(digest, expected) is not None else None

    async def create(self, digest: Digest, size: int | None = None) -> IObjectWriter:
        """Begin a new blob, of *size* bytes if that is known.

        The caller must verify the digest before it commits.
        """
        return await self._driver.create(blob_key(digest), size)

    async def discard(self, digest: Digest) -> bool:
        """Remove a blob; readers that have it open can finish."""
        key = blob_key(digest)
        self._usage.forget(key)
        return await self._driver.delete(key)

    async def discard_many(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        """Remove blobs; return those that were there."""
        keys = {blob_key(digest): digest for digest in digests}
        for key in keys:
            self._usage.forget(key)
        return [keys[key] for key in await self._driver.delete_many(list(keys))]

    def committed(self, digest: Digest, size: int) -> None:
        """Count a blob of *size* bytes that has just been committed, as used now."""
        self._withdrawn.pop(digest, None)
        self._totals.add(size)
        self._usage.used(blob_key(digest))

    @property
    def trusts(self) -> bool:
        """Whether verified blobs are not hashed again each time."""
        return not self._check_always

    def used(self, digest: Digest) -> None:
        """Count a blob as used now."""
        self.used_at(blob_key(digest))

    def used_at(self, key: str) -> None:
        """Count the blob at a key of the store as used now."""
        self._usage.used(key)

    @property
    def has_withdrawn(self) -> bool:
        """Whether any blob is suspended."""
        return self._withdrawn.currsize > 0

    def in_use(self, digest: Digest) -> bool:
        """Whether the blob is being read."""
        return digest in self._readers

    def is_withdrawn(self, digest: Digest) -> bool:
        """Whether the blob is suspended, because it is corrupt."""
        return digest in self._withdrawn

    def suspend(self, digest: Digest) -> None:
        """Stop serving a corrupt blob until it is withdrawn or stored again.

        Readers that have received a part of it fail; others get it from its registry.
        """
        self._withdrawn[digest] = None
        self.interrupt(digest)

    def interrupt(self, digest: Digest) -> None:
        """End what is being read of a corrupt blob; what is opened from now on may be right."""
        self._withdrawals += 1
        self._hashed.remove(str(digest))
        self.interrupted(digest)
        readers = self._readers.get(digest, ())
        for blob in readers:
            blob.withdrawn = True
        if readers:
            self.cut()

    async def withdraw(self, digest: Digest, found: IInspectedObject, target: str | None) -> bool:
        """Move a corrupt blob to the key *target*, or remove it.

        If that fails with StoreError, it stays suspended. Returns whether it was moved: not if it has
        been removed or replaced meanwhile.
        """
        self.suspend(digest)
        moved = await found.withdraw(target)
        # There is another file at the key now, or none.
        self._withdrawn.pop(digest, None)
        if moved:
            self._usage.forget(blob_key(digest))
            self._totals.remove(found.info.size)
        return moved

    async def list(self) -> AsyncIterator[tuple[Digest, ObjectInfo]]:
        """Yield every stored blob with the time of its last use.

        A blob that another program has stored counts as used when this process started, or later: its
        modification time says nothing about its use.
        """
        async for info in self._driver.list(BLOBS):
            digest = parse_blob_key(info.key)
            if digest is not None:
                used = self._usage.last(info.key, info.used)
                if not info.sealed:
                    used = max(used, self._usage.began)
                yield digest, ObjectInfo(info.key, info.size, used, info.sealed)

    def needed(self, digest: Digest, when: float) -> None:
        """Count the blob as used at *when*, when something that refers to it was."""
        self._usage.inherit(blob_key(digest), when)

    def used_since(self, digest: Digest, when: float) -> bool:
        """Whether the blob was used at *when* or later."""
        return self._usage.last(blob_key(digest), 0.0) >= when

    def _verified(self, digest: Digest) -> Deferred[bool]:
        return self._verifying.run(digest, lambda: self._verify(digest))

    async def _verify(self, digest: Digest) -> bool:
        """Hash a stored blob; seal it if it is right, remove it if it is wrong."""
        key = blob_key(digest)
        stored: IStoredObject | None = await self._driver.open(key)
        if stored is None:
            return False
        verifier = Verifier(digest)
        try:
            offset = 0
            while data := await stored.read(offset, self._limits.hashed_at_once):
                await self._hashing(verifier.update, data)
                offset += len(data)
        finally:
            stored.close()
        if verifier.verified():
            self._hashed.put(str(digest), verifier.length)
            if not stored.info.sealed:
                self._log.info("{digest} was found in the store and verified", digest=str(digest))
                await self._seal(key)
            return True
        self._log.warn(
            "removed {digest} from the store: it is corrupt ({size} bytes, digest {actual})",
            digest=str(digest),
            size=stored.info.size,
            actual=str(verifier.actual()),
        )
        if await self.discard(digest):
            self._totals.remove(stored.info.size)
        return False

    async def _seal(self, key: str) -> None:
        """Mark a blob as verified; if that fails, it is hashed again next time."""
        try:
            await self._driver.seal(key)
        except StoreError as error:
            self._log.warn("cannot mark a blob as verified: {error}", error=str(error))
