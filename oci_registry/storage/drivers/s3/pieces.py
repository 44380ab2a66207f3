"""Pieces of objects in memory: fetched a few MiB at a time with read-ahead, and shared by all readers.

Each read from a bucket costs a request, so a reader's next bytes are fetched together. They are kept in
memory, so that a slow client occupies neither a thread nor a connection. The first piece is small, since a
client waits for all of it; the size of the next ones depends on the speed of the server. A budget limits
the memory for any number of readers: the more objects are open, the smaller are their pieces. The least
recently used pieces are dropped, and fetched again if they are needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from oci_registry.storage.drivers.s3.limits import DEFAULTS, PieceLimits
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.streams.waiters import Waiters

_GROWTH = 4.0
"""How many times larger than a piece the next one may be."""


@frozen
class Fetched:
    """Bytes from the bucket, and how many *seconds* it took to fetch them."""

    data: bytes
    seconds: float = 0.0


Fetch = Callable[[int, int], Deferred[Fetched]]


class _Piece:
    """The bytes of an object from *start* to *stop*, or the reads that wait for them."""

    def __init__(self, start: int, stop: int, data: bytes | None = None) -> None:
        self.start = start
        self.stop = stop
        self.data = data
        self.failure: Failure | None = None
        self.waiting: Waiters[_Piece] = Waiters()

    def cut(self, offset: int, length: int) -> bytes:
        """Return at most *length* bytes at *offset*."""
        assert self.data is not None
        return self.data[offset - self.start : offset - self.start + length]


class OpenObject:
    """One version of an object, open for at least one reader.

    *fetch* returns the bytes between two offsets; if it fails, the reads that wait for them fail.
    *first*: the bytes that have been fetched at *start*.
    """

    def __init__(
        self, pieces: Pieces, info: ObjectInfo, fetch: Fetch, start: int, first: Fetched
    ) -> None:
        self.info = info
        self.size = info.size
        self.readers = 0
        self._pieces = pieces
        self._fetch = fetch
        self._held: dict[int, _Piece] = {}
        self._first: _Piece | None = _Piece(start, start + len(first.data), first.data)
        self._length = pieces.limits.first
        self._adapt(first)

    def at_hand(self, offset: int, length: int, stop: int) -> bytes | None:
        """Return at most *length* bytes at *offset*, if they are in memory."""
        if length <= 0 or offset >= self.size:
            return b""
        piece = self._find(offset)
        if piece is None or piece.data is None:
            return None
        self._look_ahead(piece, stop)
        return piece.cut(offset, length)

    def read(self, offset: int, length: int, stop: int) -> Deferred[bytes]:
        """Return at most *length* bytes at *offset*; those up to *stop* may be fetched with them."""
        at_hand = self.at_hand(offset, length, stop)
        if at_hand is not None:
            return succeed(at_hand)
        piece = self._find(offset) or self._begin(offset, max(stop, offset + length))
        self._look_ahead(piece, stop)
        if piece.data is not None:
            return succeed(piece.cut(offset, length))
        if piece.failure is not None:
            return fail(piece.failure)
        return piece.waiting.wait().addCallback(lambda arrived: arrived.cut(offset, length))

    def begin(self) -> None:
        """Keep the first piece, since the object has a reader."""
        # A second reference would keep it in memory after it is dropped.
        first, self._first = self._first, None
        if first is not None and first.data:
            self._held[first.start] = first
            self._pieces.hold(self, first)

    def close(self) -> None:
        """Drop all pieces, since the object has no reader."""
        for piece in list(self._held.values()):
            self.drop(piece)

    def drop(self, piece: _Piece) -> None:
        """Forget a piece; reads that wait for it still get it."""
        if self._held.get(piece.start) is piece:
            del self._held[piece.start]
            self._pieces.release(piece)

    def _find(self, offset: int) -> _Piece | None:
        for piece in self._held.values():
            if piece.start <= offset < piece.stop:
                self._pieces.touch(piece)
                return piece
        return None

    def _look_ahead(self, piece: _Piece, stop: int) -> None:
        """Fetch the next piece; drop those before this one if there is only one reader."""
        if self.readers == 1:
            for passed in [p for p in self._held.values() if p.stop <= piece.start and p.data]:
                self.drop(passed)
        room = self._pieces.share > self._pieces.limits.smallest
        if room and piece.stop < min(stop, self.size) and self._find(piece.stop) is None:
            self._begin(piece.stop, stop)

    def _begin(self, start: int, stop: int) -> _Piece:
        """Start to fetch a piece, which ends where the next one begins."""
        stop = min(stop, self.size, start + min(self._length, self._pieces.share))
        stop = min([stop, *(p.start for p in self._held.values() if p.start > start)])
        piece = self._held[start] = _Piece(start, stop)
        self._pieces.hold(self, piece)
        self._fetch(start, stop).addCallbacks(
            self._arrived, self._failed, (piece,), errbackArgs=(piece,)
        )
        return piece

    def _adapt(self, fetched: Fetched) -> None:
        """Choose the length of the next piece by the speed of the last one."""
        limits = self._pieces.limits
        slow = fetched.seconds > limits.seconds
        if slow or len(fetched.data) >= self._length:
            growth = min(_GROWTH, limits.seconds / max(fetched.seconds, 0.001))
            length = int(len(fetched.data) * growth)
            self._length = min(limits.largest, max(limits.smallest, length))

    def _arrived(self, fetched: Fetched, piece: _Piece) -> None:
        self._adapt(fetched)
        piece.data = fetched.data
        piece.waiting.fire(piece)
        self._pieces.shrink()

    def _failed(self, failure: Failure, piece: _Piece) -> None:
        self.drop(piece)
        piece.failure = failure
        piece.waiting.fail(failure)


class Pieces:
    """The pieces of all open objects."""

    def __init__(self, limits: PieceLimits = DEFAULTS.pieces) -> None:
        self.limits = limits
        self.held = 0
        """Bytes of the pieces that are in memory or being fetched."""
        self._opening = 0
        self._objects: dict[str, OpenObject] = {}
        self._count = 0
        self._recent: OrderedDict[_Piece, OpenObject] = OrderedDict()

    @property
    def share(self) -> int:
        """The size of a piece in bytes: the budget has room for two pieces of each open object."""
        limits = self.limits
        each = limits.budget // (2 * max(1, self._count + self._opening))
        whole = each // limits.smallest * limits.smallest
        return min(limits.largest, max(limits.smallest, whole))

    @contextmanager
    def opening_one(self) -> Iterator[None]:
        """Count one more open object while its first piece is being fetched."""
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    def current(self, key: str) -> OpenObject | None:
        """Return the open object, unless there is none or it has been replaced or removed."""
        return self._objects.get(key)

    def enter(self, opened: OpenObject) -> None:
        """Add a reader. Later readers share the object while it is the current version."""
        opened.readers += 1
        if opened.readers == 1:
            self._count += 1
            self._objects[opened.info.key] = opened
            opened.begin()

    def leave(self, opened: OpenObject) -> None:
        """Remove a reader."""
        opened.readers -= 1
        if not opened.readers:
            self._count -= 1
            if self._objects.get(opened.info.key) is opened:
                del self._objects[opened.info.key]
            opened.close()

    def forget(self, key: str) -> None:
        """Forget an object that was replaced or removed: new readers do not get it."""
        self._objects.pop(key, None)

    def hold(self, opened: OpenObject, piece: _Piece) -> None:
        """Count a piece that is in memory or being fetched."""
        self._recent[piece] = opened
        self.held += piece.stop - piece.start
        self.shrink()

    def release(self, piece: _Piece) -> None:
        """Count a piece no longer."""
        if self._recent.pop(piece, None) is not None:
            self.held -= piece.stop - piece.start

    def touch(self, piece: _Piece) -> None:
        """Mark a piece as the most recently used."""
        self._recent.move_to_end(piece)

    def shrink(self) -> None:
        """Drop the least recently used pieces until the rest is within the budget."""
        if self.held <= self.limits.budget:
            return
        for piece, opened in list(self._recent.items())[:-1]:
            if piece.data is not None:
                opened.drop(piece)
                if self.held <= self.limits.budget:
                    return
