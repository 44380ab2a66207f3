"""A disk that goes bad: stored blobs get a wrong byte, or lose their end, behind the daemon's back."""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from attrs import Factory, define
from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import BLOBS, blob_key, parse_blob_key

_TRUNCATED = 0.3


@define
class _Harm:
    """A blob that was damaged *at* a time, and those who wait until it is right again."""

    at: float
    waiting: list[Deferred[None]] = Factory(list)


class Damage:
    """Damages blobs in the store *root*, and knows for which of them clients may still get wrong bytes.

    That is so until the end of the first scrub that has begun after the damage: until then the disk lies,
    and nobody has looked. What was damaged is counted in *counts*.
    """

    def __init__(self, root: Path, random: Random, counts: Counter[str]) -> None:
        self.ever: set[Digest] = set()
        """What was damaged at any time, and was not seen in the store since: clients may have to fetch it."""
        self.left: list[str] = []
        """What was still damaged after the scrub that should have found it."""
        self._root = root
        self._random = random
        self._counts = counts
        self._open: dict[Digest, _Harm] = {}
        self._closed: dict[Digest, float] = {}

    def harm(self, now: float) -> Digest | None:
        """Damage a blob; return which."""
        stored = [digest for digest in stored_blobs(self._root) if digest not in self._open]
        if not stored:
            return None
        digest = self._random.choice(stored)
        path = self._root / blob_key(digest)
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            if size > 1:
                # Before it is done: a client may be reading.
                self._open[digest] = _Harm(now)
                self.ever.add(digest)
                truncate = self._random.random() < _TRUNCATED
                spoil(path, self._random.randrange(size), truncate=truncate)
                self._counts["truncated" if truncate else "flipped"] += 1
                return digest
        return None

    def is_open(self, digest: Digest) -> bool:
        """Whether the damage of a blob need not have been found yet."""
        return digest in self._open

    def excuses(self, digest: Digest, began: float) -> bool:
        """Whether a response that began at a time may have wrong bytes of a blob."""
        return digest in self._open or began <= self._closed.get(digest, 0.0)

    async def healed(self, digest: Digest) -> None:
        """Wait until a scrub has found the damage of a blob."""
        harm = self._open.get(digest)
        if harm is not None:
            # Who has waited too long must not be called.
            waiting: Deferred[None] = Deferred(harm.waiting.remove)
            harm.waiting.append(waiting)
            await waiting

    def scrubbed(self, began: float, now: float) -> None:
        """A scrub that has begun at a time has ended: it must have found what was damaged before."""
        for digest, harm in list(self._open.items()):
            if harm.at >= began:
                continue
            if not is_right(self._root, digest):
                self.left.append(str(digest))
            del self._open[digest]
            self._closed[digest] = now
            for waiting in list(harm.waiting):
                waiting.callback(None)

    def look(self) -> None:
        """Note which of the blobs that were damaged are in the store again."""
        self.ever -= {
            digest
            for digest in self.ever
            if digest not in self._open and (self._root / blob_key(digest)).exists()
        }


def spoil(path: Path, at: int, *, truncate: bool) -> None:
    """Give a file a wrong byte at an offset, or let it end there; nothing else of it changes."""
    before = path.stat()
    if not os.access(path, os.W_OK):
        path.chmod(before.st_mode | stat.S_IWUSR)
    with path.open("r+b") as file:
        if truncate:
            file.truncate(at)
        else:
            file.seek(at)
            wrong = file.read(1)[0] ^ 0xFF
            file.seek(at)
            file.write(bytes([wrong]))
            file.flush()
        os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fchmod(file.fileno(), before.st_mode)


def stored_blobs(root: Path) -> list[Digest]:
    """Return the blobs that are in a store, in an order that is always the same."""
    # Folders go while this looks, which `os.walk` passes over.
    files = (Path(folder, name) for folder, _, names in os.walk(root / BLOBS) for name in names)
    keys = sorted(str(path.relative_to(root)) for path in files)
    return [digest for digest in map(parse_blob_key, keys) if digest is not None]


def is_right(root: Path, digest: Digest) -> bool:
    """Whether a blob in a store has its digest, or is not there."""
    with suppress(FileNotFoundError), (root / blob_key(digest)).open("rb") as file:
        return Digest.of(file.read()) == digest
    return True
