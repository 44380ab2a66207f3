"""A stored blob that fails while it is sent: the rest comes from upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.interfaces import Source

Instead = Callable[[StoreError, int], Awaitable[Source]]


class RescuedSource:
    """The bytes of *source* from *start* to *stop*; once it fails or ends early, those of another.

    *instead* returns that other source, for an error and a position. It is asked once.
    """

    def __init__(self, source: Source, start: int, stop: int, instead: Instead) -> None:
        self._source = source
        self._position = start
        self._stop = stop
        self._instead: Instead | None = instead
        self._closed = False

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes, at most *limit*; ``b""`` at the end."""
        data = self._source.read(limit)
        if isinstance(data, Deferred):
            return data.addCallbacks(self._take, self._failed, (limit,), errbackArgs=(limit,))
        return self._take(data, limit)

    def _take(self, data: bytes, limit: int) -> bytes | Deferred[bytes]:
        if data or self._position >= self._stop or self._instead is None:
            self._position += len(data)
            return data
        return self._rescue(StoreError("an object ended before its end"), limit)

    def _failed(self, failure: Failure, limit: int) -> Failure | Deferred[bytes]:
        if self._instead is None or not isinstance(failure.value, StoreError):
            return failure
        return self._rescue(failure.value, limit)

    def _rescue(self, error: StoreError, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._go_on(error, limit))

    async def _go_on(self, error: StoreError, limit: int) -> bytes:
        instead, self._instead = self._instead, None
        self._source.close()
        if instead is None or self._gone():
            raise error
        self._source = await instead(error, self._position)
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
