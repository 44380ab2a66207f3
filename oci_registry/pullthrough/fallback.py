"""Fallback of a reader from a failing store to upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.follower import LostPlace
from oci_registry.streams.interfaces import FilePart, Source, as_file, as_shared

Fallback = Callable[[StoreError | LostPlace, int], Awaitable[Source]]

MAX_FALLBACKS = 2
"""Fallbacks of one reader: from the store to a transfer, and from there to a private transfer."""


class EndedEarly(StoreError, EOFError):
    """An object in the store is shorter than it was when it was opened; nothing is wrong with the store."""


class FallbackSource:
    """The bytes of *source* from *start* to *stop*, with a fallback to another source.

    The fallback is used after `StoreError`, after `LostPlace` (a transfer no longer has the bytes at the
    reader's position), and when *source* ends before *stop*. *fallback* returns the other source, given
    the error and the position. *stop* is None if the end is not known.
    """

    def __init__(self, source: Source, start: int, stop: int | None, fallback: Fallback) -> None:
        self._source = source
        self._file = as_file(source)
        self._position = start
        self._stop = stop
        self._fallback = fallback
        self._left = MAX_FALLBACKS
        self._closed = False

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*; ``b""`` at the end."""
        try:
            data = self._source.read(limit)
        except (StoreError, LostPlace) as error:
            return self._fall_back(error, limit)
        if isinstance(data, Deferred):
            return data.addCallbacks(self._take, self._failed, (limit,), errbackArgs=(limit,))
        return self._take(data, limit)

    def more(self) -> Deferred[None] | None:
        """Return a Deferred that fires when there is more, if that must be waited for."""
        return None if self._file is None else self._file.more()

    def can_send(self) -> bool:
        """Whether the next bytes can be sent from a file."""
        return self._file is not None and self._file.can_send()

    def send_now(self, socket: int, limit: int) -> int:
        """Send the next bytes straight to a socket, as `FileSource` says."""
        if self._file is None:
            return 0
        count = self._file.send_now(socket, limit)
        self._position += count
        return count

    def part(self) -> FilePart | None:
        """Return where all further bytes are, if another process may send them."""
        shared = as_shared(self._file)
        return None if shared is None else shared.part()

    def advance(self, count: int) -> None:
        """Another process has sent the next bytes."""
        shared = as_shared(self._file)
        if shared is not None:
            shared.advance(count)
            self._position += count

    def _take(self, data: bytes, limit: int) -> bytes | Deferred[bytes]:
        if data or self._stop is None or self._position >= self._stop:
            self._position += len(data)
            return data
        return self._fall_back(EndedEarly("an object in the store ended early"), limit)

    def _failed(self, failure: Failure, limit: int) -> Failure | Deferred[bytes]:
        if isinstance(failure.value, StoreError | LostPlace):
            return self._fall_back(failure.value, limit)
        return failure

    def _fall_back(self, error: StoreError | LostPlace, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._read_fallback(error, limit))

    async def _read_fallback(self, error: StoreError | LostPlace, limit: int) -> bytes:
        self._source.close()
        self._file = None
        if not self._left or self._is_closed():
            raise error
        self._left -= 1
        self._source = await self._fallback(error, self._position)
        if self._is_closed():
            self._source.close()
            raise error
        self._file = as_file(self._source)
        data = self.read(limit)
        return await data if isinstance(data, Deferred) else data

    def _is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Close the current source. Idempotent."""
        self._closed = True
        self._source.close()
