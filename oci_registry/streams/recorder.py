"""Hashes and stores the bytes of a growing blob in one pass, in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest, Prefix, Verifier
from oci_registry.streams.interfaces import GrowingFile

SMALL = 64 * 1024
"""Bytes below which a chunk is joined with its neighbours."""


@frozen
class Batch:
    """Bytes that have been hashed, in pieces.

    *length*: of all pieces, in bytes. *seen*: all bytes up to their end. *error*: why they could not be
    stored, if they could not.
    """

    pieces: Sequence[bytes]
    length: int
    seen: Prefix
    error: Exception | None


class Recorder:
    """Hashes bytes and appends them to *file*, as long as that goes well.

    *had*: what a reader has received from elsewhere, which these bytes must begin with; `contradicted`:
    whether they differ.
    """

    def __init__(self, expected: Digest, file: GrowingFile | None, had: Prefix | None) -> None:
        self.storing = file is not None
        self.contradicted = False
        self._verifier = Verifier(expected)
        self._file = file
        self._had = had
        self._appending: Batch | None = None
        """The batch that is being appended in the thread."""

    def record(self, chunks: list[bytes]) -> Batch:
        """In the thread: hash and append bytes in one pass, while they are in the processor's cache."""
        pieces = join_small(chunks)
        before = self._verifier.length
        for piece in pieces:
            self._hash(piece)
        length = self._verifier.length - before
        batch = Batch(pieces, length, self._verifier.prefix(), None)
        if self.storing and self._file is not None:
            self._appending = batch
            try:
                for piece in pieces:
                    self._file.append(piece)
            except Exception as error:
                self.storing = False
                batch = evolve(batch, error=error)
            self._appending = None
        return batch

    def give_up(self, seconds: float, returned: Deferred[None]) -> Batch | None:
        """Store nothing more, if the thread is appending: return its batch, with the error.

        *seconds*: how long that has taken. *returned* fires when the append returns.
        """
        batch = self._appending
        if batch is None or self._file is None:
            return None
        self.storing = False
        return evolve(batch, error=self._file.append_hangs(seconds, returned))

    def _hash(self, data: bytes) -> None:
        had, start = self._had, self._verifier.length
        if had is not None and start < had.length <= start + len(data):
            view = memoryview(data)
            self._verifier.update(view[: had.length - start])
            self.contradicted = self._verifier.actual() != had.digest
            self._verifier.update(view[had.length - start :])
        else:
            self._verifier.update(data)

    def verified(self) -> bool:
        """Whether the bytes so far are the whole of the expected content."""
        return self._verifier.verified()

    def actual(self) -> Digest:
        """The digest of the bytes so far."""
        return self._verifier.actual()


def join_small(chunks: Sequence[bytes]) -> Sequence[bytes]:
    """Return the same bytes in fewer pieces: neighbours of less than `SMALL` are joined.

    Each piece costs one call of the hash and one of the file. Large ones are not copied.
    """
    if len(chunks) == 1:
        return chunks
    pieces: list[bytes] = []
    for small, group in groupby(chunks, lambda chunk: len(chunk) < SMALL):
        neighbours = list(group)
        pieces += [b"".join(neighbours)] if small else neighbours
    return pieces
