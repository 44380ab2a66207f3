"""The store of blobs by digest, which are verified before they are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from attrs import frozen
from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    Keepable,
    KeptObject,
    ObjectInfo,
    StoreError,
)
from oci_registry.storage.keys import BLOBS, blob_key, parse_blob_key
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.interfaces import FilePart
from oci_registry.streams.threads import RunInThread


@frozen
class BlobStoreLimits:
    """*hashed_at_once*: bytes; *remembered*: the number of blobs whose verified size is in memory."""

    hashed_at_once: int = 1024 * 1024
    remembered: int = 1000


class StoredBlob:
    """An open blob of the store; close it, or its source, when done."""

    def __init__(
        self, digest: Digest, stored: IStoredObject, readers: Counter[Digest], head_at: int = 0
    ) -> None:
        self.digest = digest
        self.size: int = stored.info.size
        self._head_at = head_at
        self._stored = stored
        self._readers = readers
        self._open = True
        readers[digest] += 1

    def source(self, start: int, stop: int) -> StoredSource:
        """Return the bytes from *start* to *stop* (exclusive) as a `Source`; closing it closes the blob."""
        head = self._stored.head if start == self._head_at else b""
        # A slow client must not hold it.
        self._stored.head = b""
        return StoredSource(self, self._stored, start, stop, head)

    def keep(self) -> KeptObject | None:
        """Return the object open once more, for parts of it, if it is verified and can be kept."""
        stored = self._stored
        return stored.keep() if stored.info.sealed and isinstance(stored, Keepable) else None

    def close(self) -> None:
        """Close the object. Idempotent."""
        if self._open:
            self._open = False
            self._readers[self.digest] -= 1
            if not self._readers[self.digest]:
                del self._readers[self.digest]
            self._stored.close()


class StoredSource:
    """A range of a stored blob, with one chunk of read-ahead if reads are slow."""

    def __init__(
        self, blob: StoredBlob, stored: IStoredObject, start: int, stop: int, head: bytes
    ) -> None:
        self._blob = blob
        self._stored = stored
        self._position = start
        self._stop = stop
        self._ahead: Deferred[bytes] | bytes | None = None
        self._closed = False
        if head:
            self._ahead = head[: stop - start]

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*; ``b""`` at the end."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            ahead = self._fetch(limit)
        if isinstance(ahead, Deferred):
            return ahead.addCallback(self._take_late, limit)
        return self._take(ahead, limit)

    def _take(self, data: bytes, limit: int) -> bytes:
        data = data[:limit]
        self._position += len(data)
        return data

    def _take_late(self, data: bytes, limit: int) -> bytes:
        data = self._take(data, limit)
        if data and not self._closed:
            # This read had to wait, so the next one will too: start it now.
            self._ahead = self._fetch(limit)
        return data

    def _fetch(self, limit: int) -> Deferred[bytes] | bytes:
        length = min(limit, self._stop - self._position)
        if length <= 0:
            return b""
        at_hand: bytes | None = self._stored.read_now(self._position, length)
        return self._stored.read(self._position, length) if at_hand is None else at_hand

    def more(self) -> Deferred[None] | None:
        """Return None: all bytes are there."""
        return None

    def can_send(self) -> bool:
        """Whether the next bytes can be sent from the object."""
        if self._closed or self._ahead is not None or self._position >= self._stop:
            return False
        possible: bool = self._stored.can_send(self._position)
        return possible

    def part(self) -> FilePart | None:
        """Return where all further bytes are, if the object is a file that others may send."""
        if self._closed or self._ahead is not None or self._stored.shared is None:
            return None
        return FilePart(self._stored.shared, self._position, self._stop - self._position)

    def advance(self, count: int) -> None:
        """Another process has sent the next bytes."""
        self._position += count

    def send_now(self, socket: int, limit: int) -> int:
        """Send the next bytes straight to a socket, as `FileSource` says."""
        length = min(limit, self._stop - self._position)
        if self._closed or self._ahead is not None or length <= 0:
            return 0
        count: int = self._stored.send_now(socket, self._position, length)
        self._position += count
        return count

    def close(self) -> None:
        """Close the blob."""
        self._closed = True
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Deferred):
            ahead.addErrback(lambda _: None)
        self._blob.close()


class BlobStore:
    """Blobs by digest, on a driver.

    A blob that another program has put there is hashed when it is first opened. *check_always*: hash
    every blob on every opening. *totals*: where new and removed blobs are counted. All methods may raise
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
        self._readers: Counter[Digest] = Counter()
        self._hashed: LRUCache[Digest, int] = LRUCache(limits.remembered)

    async def size(self, digest: Digest, expected: int | None = None) -> int | None:
        """Return the size of a stored blob in bytes, or None. *expected*: as for `open`."""
        key = blob_key(digest)
        info: ObjectInfo | None = await self._driver.stat(key)
        if info is None:
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

        *head*: how many bytes at *start* to read on opening. *stop*: where the reader stops. *expected*:
        the size that a manifest states; if the blob has another, it is hashed again.
        """
        key = blob_key(digest)
        stored: IStoredObject | None = await self._driver.open(key, head, start, stop)
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

    def _needs_check(self, digest: Digest, info: ObjectInfo, expected: int | None) -> bool:
        if not info.sealed:
            return True
        # A manifest may state a wrong size; the blob is hashed for that only once.
        return expected not in (None, info.size) and self._hashed.get(digest) != info.size

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
        self._totals.add(size)
        self._usage.used(blob_key(digest))

    @property
    def trusts(self) -> bool:
        """Whether verified blobs are not hashed again each time."""
        return not self._check_always

    def used(self, digest: Digest) -> None:
        """Count a blob as used now."""
        self._usage.used(blob_key(digest))

    def in_use(self, digest: Digest) -> bool:
        """Whether the blob is being read."""
        return digest in self._readers

    async def list(self) -> AsyncIterator[tuple[Digest, ObjectInfo]]:
        """Yield every stored blob with the time of its last use.

        A blob that another program has put there counts as used when this process started, or later: its
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
            self._hashed[digest] = verifier.length
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
