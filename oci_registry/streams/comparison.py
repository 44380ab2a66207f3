"""A second download of a blob beside a first one whose bytes were wrong somewhere."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.streams.interfaces import GrowingFile


class Comparison:
    """Finds out how far the second one has the same bytes as *file*, where the first one is.

    Only the bytes before *end* matter: nobody has had more of them. *over* is called when the file is
    needed no more.
    """

    def __init__(self, file: GrowingFile, end: int, over: Callable[[], None]) -> None:
        self._file = file
        self._end = end
        self._over: Callable[[], None] | None = over

    async def difference(self, position: int, data: bytes) -> int | None:
        """Return where the first byte is that is another in the file; None if there is none.

        *data* are the next bytes of the second download, at *position*. What cannot be read counts as
        different. After the first difference there are no more.
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
        """There is nothing more to compare. Idempotent."""
        over, self._over = self._over, None
        if over is not None:
            over()


def _in_common(one: bytes, other: bytes) -> int:
    """Return how many bytes two strings of one length have in common at their beginning.

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
