"""A list of verified files, for volumes without permissions."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from oci_registry.streams.recent import RecentValues

REMEMBERED = 100_000
"""Files that are remembered; the least recently used are evicted."""
_SLACK = 1000
"""Outdated lines that the list may have, in addition to one for each file."""
_LONGEST = 64 * 1024 * 1024
"""The maximum number of bytes of the list that are read; ours is never longer."""


class VerifiedFiles:
    """Remembers verified files, in memory and in a list at *path*, by key, size and time.

    A file counts as verified while its size and its modification time are unchanged; after a touch it
    must be added again. The list is text with one line for each file. The last line of a key counts, and
    invalid lines are ignored. All methods may be called in any thread; `load` and `write` block, and
    raise OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._writing = Lock()
        # Size and time of each, as the list has them.
        self._known: RecentValues[str] = RecentValues(REMEMBERED)
        self._unwritten: dict[str, str] = {}
        self._lines = 0

    @property
    def unwritten(self) -> bool:
        """Whether there is something to `write`."""
        return bool(self._unwritten)

    def has(self, key: str, status: os.stat_result) -> bool:
        """Whether the file of *key* was added and is unchanged."""
        with self._lock:
            return self._known.get(key) == _size_and_time(status)

    def add(self, key: str, status: os.stat_result) -> None:
        """Add the file of *key*, with its current size and time."""
        with self._lock:
            found = _size_and_time(status)
            self._known.put(key, found)
            self._unwritten[key] = found
            if len(self._unwritten) > REMEMBERED:
                # The list cannot be written: drop the oldest.
                del self._unwritten[next(iter(self._unwritten))]

    def forget(self, key: str) -> None:
        """Forget the file of *key*. Its line in the list may stay, since it fits no other file."""
        with self._lock:
            self._known.remove(key)
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
                        self._known.put(key, f"{int(size)} {int(modified)}")

    def write(self) -> None:
        """Append new entries to the list; rewrite it if most of its lines are outdated."""
        with self._writing:
            with self._lock:
                unwritten, self._unwritten = self._unwritten, {}
                compact = self._lines > 2 * len(self._known) + _SLACK
                entries = self._known.entries() if compact else unwritten
            if not entries:
                return
            try:
                self._write(entries, compact=compact)
            except BaseException:
                with self._lock:
                    self._unwritten = {**unwritten, **self._unwritten}
                raise

    def _write(self, entries: dict[str, str], *, compact: bool) -> None:
        text = "".join(f"{key} {found}\n" for key, found in entries.items() if _fits(key))
        data = text.encode("ascii")
        if compact:
            new = self._path.with_name(f"{self._path.name}.new")
            new.write_bytes(data)
            os.replace(new, self._path)
            self._lines = len(entries)
        else:
            with self._path.open("ab") as file:
                # An incomplete last line must not corrupt the next one.
                file.write(b"\n" + data if file.tell() and self._ends_in_partial_line() else data)
            self._lines += len(entries)

    def _ends_in_partial_line(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def _fits(key: str) -> bool:
    """Whether a key is one word of printable ASCII, as the keys of blobs are."""
    return key.isascii() and key.isprintable() and " " not in key


def _size_and_time(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"
