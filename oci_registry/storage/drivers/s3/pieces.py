"""Pieces of objects in memory: fetched a few MiB at a time, one ahead, shared by all who read them.

A read from a bucket costs a request, so a reader's next bytes come together; and they come into memory
whole, so that a slow client holds neither a thread nor a connection. The first piece is small, since a
client waits for the whole of it; the next ones are as large as the server is fast. What is held in
memory is bounded by a budget, whatever the number of readers: the more objects are open, the smaller are
their pieces, and what nobody has looked at for longest is dropped, to be fetched again when it is wanted
after all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from oci_registry.storage.drivers.s3.limits import DEFAULTS, S3Limits
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.streams.waiters import Waiters

_GROWTH = 4.0
"""How much larger than a piece the next one is at most."""


@frozen
class Fetched:
    """Bytes from the bucket, and how many *seconds* it took to get them."""

    data: bytes
    seconds: float = 0.0


Fetch = Callable[[int, int], Deferred[Fetched]]


class _Piece:
    """The bytes of an object from *start* to *stop*, or those who wait for them."""

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

    *fetch* returns the bytes between two offsets; it may fail, and then so do the reads that wait.
    *first*: what has been fetched already, at *start*.
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
        """Return at most *length* bytes at *offset*; what lies before *stop* may be fetched with them."""
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
        """Somebody reads it: keep what has been fetched already."""
        # Kept here too, it would stay in memory when it is dropped there.
        first, self._first = self._first, None
        if first is not None and first.data:
            self._held[first.start] = first
            self._pieces.hold(self, first)

    def close(self) -> None:
        """Nobody reads it any more."""
        for piece in list(self._held.values()):
            self.drop(piece)

    def drop(self, piece: _Piece) -> None:
        """Forget a piece; who waits for it gets it still."""
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
        """Have the next piece fetched while this one is sent; alone, leave nothing behind."""
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
        """Choose the length of the next piece by how fast the last one came."""
        limits = self._pieces.limits
        slow = fetched.seconds > limits.piece_time
        if slow or len(fetched.data) >= self._length:
            growth = min(_GROWTH, limits.piece_time / max(fetched.seconds, 0.001))
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

    def __init__(self, limits: S3Limits = DEFAULTS) -> None:
        self.limits = limits
        self.held = 0
        """Bytes of the pieces in memory and on their way there."""
        self.opening = 0
        """How many objects are about to be opened."""
        self._objects: dict[str, OpenObject] = {}
        self._count = 0
        self._recent: OrderedDict[_Piece, OpenObject] = OrderedDict()

    @property
    def share(self) -> int:
        """How many bytes to fetch at once: for each open object there are two pieces in the budget."""
        limits = self.limits
        each = limits.budget // (2 * max(1, self._count + self.opening))
        whole = each // limits.smallest * limits.smallest
        return min(limits.largest, max(limits.smallest, whole))

    def current(self, key: str) -> OpenObject | None:
        """Return an object that is open already, unless it has been replaced or removed."""
        return self._objects.get(key)

    def enter(self, opened: OpenObject) -> None:
        """One reader more. Who comes later shares the object, as long as it is the current one."""
        opened.readers += 1
        if opened.readers == 1:
            self._count += 1
            self._objects[opened.info.key] = opened
            opened.begin()

    def leave(self, opened: OpenObject) -> None:
        """One reader less."""
        opened.readers -= 1
        if not opened.readers:
            self._count -= 1
            if self._objects.get(opened.info.key) is opened:
                del self._objects[opened.info.key]
            opened.close()

    def forget(self, key: str) -> None:
        """The object has been replaced or removed: who comes now does not get the old one."""
        self._objects.pop(key, None)

    def hold(self, opened: OpenObject, piece: _Piece) -> None:
        """A piece is in memory, or on its way."""
        self._recent[piece] = opened
        self.held += piece.stop - piece.start
        self.shrink()

    def release(self, piece: _Piece) -> None:
        """A piece is forgotten."""
        if self._recent.pop(piece, None) is not None:
            self.held -= piece.stop - piece.start

    def touch(self, piece: _Piece) -> None:
        """A piece is looked at."""
        self._recent.move_to_end(piece)

    def shrink(self) -> None:
        """Drop what nobody has looked at for longest, until the rest is within the budget."""
        if self.held <= self.limits.budget:
            return
        for piece, opened in list(self._recent.items())[:-1]:
            if piece.data is not None:
                opened.drop(piece)
                if self.held <= self.limits.budget:
                    return
