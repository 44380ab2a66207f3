"""Stored blobs that are open, and their bytes as sources."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import IStoredObject, Keepable, KeptObjects, StoreError
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.interfaces import FilePart


class Withdrawn(StoreError):
    """A stored blob has turned out to be corrupt; this reader has received nothing of it."""


class CorruptBlob(TransferFailed):
    """A stored blob has turned out to be corrupt, and this reader has received a part of it."""


Readers = dict[Digest, set["StoredBlob"]]
"""The blobs that are open, by digest."""


class StoredBlob:
    """An open blob of the store; close it, or its source, when done.

    *withdrawn*: it has turned out to be corrupt. Nothing more of it is read.
    """

    def __init__(
        self, digest: Digest, stored: IStoredObject, readers: Readers, head_at: int = 0
    ) -> None:
        self.digest = digest
        self.withdrawn = False
        self.size: int = stored.info.size
        self._head_at = head_at
        self._stored = stored
        self._readers = readers
        self._open = True
        readers.setdefault(digest, set()).add(self)

    def source(self, start: int, stop: int) -> StoredSource:
        """Return the bytes from *start* to *stop* (exclusive) as a `Source`; closing it closes the blob."""
        head = self._stored.head if start == self._head_at else b""
        # A slow client must not keep it in memory.
        self._stored.head = b""
        return StoredSource(self, self._stored, start, stop, head)

    def keep(self) -> KeptObjects | None:
        """Keep the object open, and return what reads it, if it is verified and can be kept."""
        stored = self._stored
        return stored.keep() if stored.info.sealed and isinstance(stored, Keepable) else None

    def close(self) -> None:
        """Close the object. Idempotent."""
        if self._open:
            self._open = False
            others = self._readers[self.digest]
            others.discard(self)
            if not others:
                del self._readers[self.digest]
            self._stored.close()


class StoredSource:
    """A range of a stored blob, with one chunk of read-ahead if reads are slow."""

    def __init__(
        self, blob: StoredBlob, stored: IStoredObject, start: int, stop: int, head: bytes
    ) -> None:
        self._blob = blob
        self._stored = stored
        self._start = self._position = start
        self._stop = stop
        self._ahead: Deferred[bytes] | bytes | None = None
        self._closed = False
        if head:
            self._ahead = head[: stop - start]

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*; ``b""`` at the end.

        Raises `Withdrawn` or `CorruptBlob` if the blob was found to be corrupt.
        """
        if self._blob.withdrawn:
            raise self._refusal()
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            ahead = self._fetch(limit)
        if isinstance(ahead, Deferred):
            return ahead.addCallback(self._take_late, limit)
        return self._take(ahead, limit)

    def _refusal(self) -> Exception:
        reason = f"the stored blob {self._blob.digest} is corrupt"
        return Withdrawn(reason) if self._position == self._start else CorruptBlob(reason)

    def _take(self, data: bytes, limit: int) -> bytes:
        if self._blob.withdrawn:
            raise self._refusal()
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
        if self._no_file or self._position >= self._stop:
            return False
        possible: bool = self._stored.can_send(self._position)
        return possible

    @property
    def _no_file(self) -> bool:
        """Whether the next bytes must be read, and not sent from the object."""
        return self._closed or self._ahead is not None or self._blob.withdrawn

    def part(self) -> FilePart | None:
        """Return where all further bytes are, if the object is a file that others may send."""
        if self._no_file or self._stored.shared is None:
            return None
        return FilePart(self._stored.shared, self._position, self._stop - self._position)

    def advance(self, count: int) -> None:
        """Another process has sent the next bytes."""
        self._position += count

    def send_now(self, socket: int, limit: int) -> int:
        """Send the next bytes straight to a socket, as `FileSource` says."""
        length = min(limit, self._stop - self._position)
        if self._no_file or length <= 0:
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
