"""Readers that continue with another download of their blob, because the bytes of the first were wrong."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.spec.digest import Digest
from oci_registry.streams.byte_log import ByteLog
from oci_registry.streams.comparison import Comparison
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.readers import Readers


class Takeover:
    """Fails those of *readers* that have received bytes which differ in the second download.

    *earlier*: the bytes of the first one, which they have received. *release* is called once, when
    these are no longer needed.
    """

    def __init__(
        self, digest: Digest, readers: Readers, earlier: ByteLog, release: Callable[[], None]
    ) -> None:
        self._readers = readers
        self._error = TransferFailed(f"{digest}: upstream sent wrong bytes at first")
        self._comparison: Comparison | None = None
        self.fail_beyond(earlier.stored)
        had = readers.had()
        if had and earlier.file is not None:
            self._comparison = Comparison(earlier.file, had, release)
        else:
            release()

    async def compare(self, position: int, data: bytes) -> None:
        """Compare the next bytes of the second download, at *position*, before a reader gets them."""
        if self._comparison is not None:
            difference = await self._comparison.difference(position, data)
            if difference is not None:
                self.fail_beyond(difference)

    def fail_beyond(self, position: int) -> None:
        """Fail the readers that have received bytes from *position* on, which were wrong."""
        self._readers.fail_beyond(position, self._error)

    def close(self) -> None:
        """Stop comparing. Idempotent."""
        if self._comparison is not None:
            self._comparison.close()
