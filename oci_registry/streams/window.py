"""The most recent bytes of a stream, kept in memory in the batches they came in."""

from __future__ import annotations

from collections import deque

FEW = 4096
"""Fewer bytes than this are not worth a write of their own."""


class Window:
    """A moving part of a stream: bytes are added at its end and dropped at its start.

    *start* and *end* are positions in the stream, in bytes; *size* is the number of bytes in memory.
    *batch*: smaller pieces are joined up to that size, so that many tiny pieces do not become a long
    list.
    """

    def __init__(self, batch: int) -> None:
        self.end = 0
        self.size = 0
        self._batch = batch
        self._batches: deque[bytes] = deque()

    @property
    def start(self) -> int:
        """The position of the first byte that is held."""
        return self.end - self.size

    def append(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._batches and len(self._batches[-1]) + len(data) <= self._batch:
            self._batches[-1] += data
        else:
            self._batches.append(data)
        self.size += len(data)
        self.end += len(data)

    def get(self, position: int, limit: int) -> bytes | None:
        """Return at most *limit* bytes at *position*; None if they are not held.

        They are from one batch, or from two if the first has only a few.
        """
        start = self.start
        if position < start:
            return None
        batches = iter(self._batches)
        for batch in batches:
            end = start + len(batch)
            if position < end:
                break
            start = end
        else:
            return None
        if position == start and len(batch) <= limit:
            return batch
        piece = batch[position - start : position - start + limit]
        if len(piece) < min(FEW, limit):
            piece += next(batches, b"")[: limit - len(piece)]
        return piece

    def shrink(self, limit: int) -> None:
        """Drop the oldest batches until no more than *limit* bytes are held."""
        while self.size > limit:
            self.size -= len(self._batches.popleft())

    def drop_before(self, position: int) -> None:
        """Drop the batches that end at *position* or before, and the first half of the next or more.

        So no more than twice as many bytes are held as are needed, and none is copied often.
        """
        while self._batches and self.start + len(self._batches[0]) <= position:
            self.size -= len(self._batches.popleft())
        unneeded = position - self.start
        if self._batches and 2 * unneeded >= len(self._batches[0]):
            self._batches[0] = self._batches[0][unneeded:]
            self.size -= unneeded

    def clear(self) -> None:
        """Drop all bytes."""
        self.shrink(0)
