"""Compares a second download of a blob with a first one that had wrong bytes."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.streams.interfaces import GrowingFile


class Comparison:
    """Finds the first difference between the second download and *file*, which contains the first one.

    Only the bytes before *end* are compared: no reader has received more. *over* is called when the file is
    no longer needed.
    """

    def __init__(self, file: GrowingFile, end: int, over: Callable[[], None]) -> None:
        self._file = file
        self._end = end
        self._over: Callable[[], None] | None = over

    async def difference(self, position: int, data: bytes) -> int | None:
        """Return the position of the first byte that differs from the file; None if none does.

        *data* are the next bytes of the second download, at *position*. Unreadable bytes count as
        different. Only the first difference is reported.
        """
        start, stop = position, min(self._end, position + len(data))
        while position < stop and self._over is not None:
            old = await self._read(position, stop - position)
            new = data[position - start : position - start + len(old)]
            if not old or old != new:
                self.close()
                return position + _in_common(old, new)
            position += len(old)
        if position >= self._end:
            self.close()
        return None

    async def _read(self, position: int, length: int) -> bytes:
        try:
            return await self._file.read(position, length)
        except Exception:
            return b""

    def close(self) -> None:
        """Stop comparing. Idempotent."""
        over, self._over = self._over, None
        if over is not None:
            over()


def _in_common(one: bytes, other: bytes) -> int:
    """Return the length of the common beginning of two strings of the same length.

    They differ, or are empty.
    """
    same, different = 0, len(one)
    while different - same > 1:
        middle = (same + different) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            different = middle
    return same
