"""Which files are verified, for volumes on which permissions do not tell."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from cachetools import LRUCache

REMEMBERED = 100_000
"""Files that are remembered, those that were used last."""
_SLACK = 1000
"""Lines that the list may be too long by, beside as many as there are files."""
_LONGEST = 64 * 1024 * 1024
"""Bytes of a list that is read; ours is never that long."""


class VerifiedFiles:
    """Remembers verified files, in memory and in a list at *path*, by key, size and time.

    A file counts while its size and its modification time are what they were; so who touches a file
    adds it again. The list is text with a line for each file, the last one of a key being the one that
    counts, of which whatever makes no sense is ignored. All methods may be called in any thread;
    `load` and `write` block, and raise OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._writing = Lock()
        self._known: LRUCache[str, tuple[int, int]] = LRUCache(REMEMBERED)
        self._unwritten: dict[str, tuple[int, int]] = {}
        self._lines = 0

    @property
    def unwritten(self) -> bool:
        """Whether there is something to `write`."""
        return bool(self._unwritten)

    def has(self, key: str, status: os.stat_result) -> bool:
        """Whether the file of *key*, as it is now, is one that was added."""
        with self._lock:
            return self._known.get(key) == _as_it_is(status)

    def add(self, key: str, status: os.stat_result) -> None:
        """The file of *key* is verified, as it is now."""
        with self._lock:
            self._known[key] = self._unwritten[key] = _as_it_is(status)
            if len(self._unwritten) > REMEMBERED:
                # The list cannot be written: the oldest go, as they do from memory.
                del self._unwritten[next(iter(self._unwritten))]

    def forget(self, key: str) -> None:
        """The file of *key* is gone. Its line in the list fits no other file."""
        with self._lock:
            self._known.pop(key, None)
            self._unwritten.pop(key, None)

    def load(self) -> None:
        """Read the list, if there is one."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            data = file.read(_LONGEST)
            for line in data.splitlines():
                self._lines += 1
                with suppress(ValueError):
                    key, size, modified = line.decode("ascii").split(" ")
                    with self._lock:
                        self._known[key] = int(size), int(modified)

    def write(self) -> None:
        """Append to the list what it lacks; write it anew when most of it is out of date."""
        with self._writing:
            with self._lock:
                unwritten, self._unwritten = self._unwritten, {}
                compact = self._lines > 2 * len(self._known) + _SLACK
                entries = dict(self._known) if compact else unwritten
            if not entries:
                return
            try:
                self._write(entries, compact=compact)
            except BaseException:
                with self._lock:
                    self._unwritten = {**unwritten, **self._unwritten}
                raise

    def _write(self, entries: dict[str, tuple[int, int]], *, compact: bool) -> None:
        text = "".join(
            f"{key} {size} {modified}\n" for key, (size, modified) in entries.items() if _fits(key)
        )
        data = text.encode("ascii")
        if compact:
            new = self._path.with_name(f"{self._path.name}.new")
            new.write_bytes(data)
            os.replace(new, self._path)
            self._lines = len(entries)
        else:
            with self._path.open("ab") as file:
                # A line that was broken off must not spoil this one.
                file.write(b"\n" + data if file.tell() and self._broken_off() else data)
            self._lines += len(entries)

    def _broken_off(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def _fits(key: str) -> bool:
    """Whether a key is a word of plain text, as those of blobs are."""
    return key.isascii() and key.isprintable() and " " not in key


def _as_it_is(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
