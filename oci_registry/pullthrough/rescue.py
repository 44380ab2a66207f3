"""A reader that cannot go on where it is, because the store fails: the rest comes from upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.follower import LostPlace
from oci_registry.streams.interfaces import Source

Instead = Callable[[StoreError | LostPlace, int], Awaitable[Source]]

RESCUES = 2
"""How often a reader is helped: out of the store into a transfer, and out of that into one of its own."""


class RescuedSource:
    """The bytes of *source* from *start* to *stop*; once it fails or ends early, those of another.

    What counts is the store's failure, `StoreError`, and a transfer that has lost the reader's place,
    `LostPlace`. *instead* returns the other source, for an error and a position. *stop* is None if
    nobody knows where the end is.
    """

    def __init__(self, source: Source, start: int, stop: int | None, instead: Instead) -> None:
        self._source = source
        self._position = start
        self._stop = stop
        self._instead = instead
        self._rescues = RESCUES
        self._closed = False

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*; ``b""`` at the end."""
        try:
            data = self._source.read(limit)
        except (StoreError, LostPlace) as error:
            return self._rescue(error, limit)
        if isinstance(data, Deferred):
            return data.addCallbacks(self._take, self._failed, (limit,), errbackArgs=(limit,))
        return self._take(data, limit)

    def _take(self, data: bytes, limit: int) -> bytes | Deferred[bytes]:
        if data or self._stop is None or self._position >= self._stop:
            self._position += len(data)
            return data
        return self._rescue(StoreError("an object ended before its end"), limit)

    def _failed(self, failure: Failure, limit: int) -> Failure | Deferred[bytes]:
        if isinstance(failure.value, StoreError | LostPlace):
            return self._rescue(failure.value, limit)
        return failure

    def _rescue(self, error: StoreError | LostPlace, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._go_on(error, limit))

    async def _go_on(self, error: StoreError | LostPlace, limit: int) -> bytes:
        self._source.close()
        if not self._rescues or self._gone():
            raise error
        self._rescues -= 1
        self._source = await self._instead(error, self._position)
        if self._gone():
            self._source.close()
            raise error
        data = self.read(limit)
        return await data if isinstance(data, Deferred) else data

    def _gone(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Close the source, whichever it is. Idempotent."""
        self._closed = True
        self._source.close()
