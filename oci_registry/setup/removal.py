"""A record of the files that ``setup --write`` has written, with which ``setup --remove`` undoes it.

The record is a file below the same directory: a JSON object from paths to the SHA-256 of what was
written and the name of the backup, if a file was replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from attrs import asdict, frozen

from oci_registry.setup.nouns import Unusable
from oci_registry.setup.writer import Tree, Written

FOLDER = "/var/lib/oci-registry-setup"


@frozen
class _Entry:
    """The digest of what was written to a file, and its backup's name, None if there was no file."""

    sha256: str
    backup: str | None


@frozen
class Removed:
    """The result of removing a file that setup has written: its place, and a message."""

    place: str
    outcome: str


class RecordedTree(Tree):
    """A tree that records what setup writes into it for one client."""

    def __init__(self, root: str, client: str, now: Callable[[], float] = time.time) -> None:
        super().__init__(root, now)
        self._record = f"{FOLDER}/{client}.json"

    def before(self, path: str) -> bytes | None:
        """Return the file as it was before setup wrote to it; as it is, if it has changed since.

        So what setup wrote earlier, for another mirror or with other options, does not stay in it.
        """
        entry, found = self._read().get(path), self.read(path)
        if entry is None or found is None or _sha256(found) != entry.sha256:
            return found
        if entry.backup is None:
            return None
        backup = self.read(os.path.join(os.path.dirname(path), entry.backup))
        return found if backup is None else backup

    def write(self, path: str, text: str, *, keep: bool = True) -> Written:
        """Write a file as `Tree` does, and record it.

        A file that setup has written and that has not changed since needs no backup: the backup of
        the original file is kept. Raises `Unusable` if the file or the record cannot be written.
        """
        entries = self._read()
        entry, found = entries.get(path), self.read(path)
        ours = entry is not None and found is not None and _sha256(found) == entry.sha256
        written = super().write(path, text, keep=keep and not ours)
        if written.changed:
            backup = written.backup and os.path.basename(written.backup)
            if entry is not None and ours:
                backup = entry.backup
            entries[path] = _Entry(_sha256(text.encode()), backup)
            try:
                self._save(entries)
            except Unusable:
                with suppress(Unusable):
                    self._take_back(path, found, written.backup)
                raise
        return written

    def _take_back(self, path: str, before: bytes | None, backup: str | None) -> None:
        """Undo a write that could not be recorded."""
        if backup is not None:
            self.restore(path, os.path.basename(backup))
        elif before is None:
            self.remove(path)
        else:
            super().write(path, before.decode(), keep=False)

    def undo(self) -> Iterator[Removed]:
        """Undo every write, and yield the result for each file.

        A file that has changed since is kept. If it raises `Unusable`, that file and all later ones
        stay in the record.
        """
        entries = self._read()
        for path, entry in list(entries.items()):
            outcome = self._undo(path, entry)
            del entries[path]
            if entries:
                self._save(entries)
            else:
                self.remove(self._record)
            yield Removed(self.place(path), outcome)

    def _undo(self, path: str, entry: _Entry) -> str:
        found = self.read(path)
        if found is None:
            return "already removed"
        if _sha256(found) != entry.sha256:
            return "kept: it has changed since setup wrote it"
        if entry.backup is None:
            self.remove(path)
            return "removed"
        self.restore(path, entry.backup)
        return f"restored from {entry.backup}"

    def _save(self, entries: dict[str, _Entry]) -> None:
        document = {path: asdict(entry) for path, entry in entries.items()}
        super().write(self._record, json.dumps(document, indent=2) + "\n", keep=False)

    def _read(self) -> dict[str, _Entry]:
        data = self.read(self._record)
        if data is None:
            return {}
        try:
            document = json.loads(data)
            return {_path(path): _entry(value) for path, value in document.items()}
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise Unusable(self._record, "is not a record written by setup") from None


def _path(text: str) -> str:
    """Check a path of the record, which must not lead out of the root."""
    if not text.startswith("/") or {"", ".", ".."} & set(text[1:].split("/")):
        raise ValueError("not an absolute path")
    return text


def _entry(value: dict[str, object]) -> _Entry:
    sha256, backup = value.get("sha256"), value.get("backup")
    if not isinstance(sha256, str) or not (backup is None or isinstance(backup, str)):
        raise TypeError("not an entry")
    if backup is not None and ("/" in backup or backup in ("", ".", "..")):
        raise ValueError("not the name of a file")
    return _Entry(sha256, backup)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
