"""Walks over the files below a directory in the order of their keys. It blocks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from oci_registry.spec.errors import system_reason
from oci_registry.storage.interfaces import ListingIncomplete, ObjectInfo

PathOf = Callable[[str], Path]
"""Returns the path of a key."""
InfoOf = Callable[[str, os.stat_result], ObjectInfo]
"""Returns what is known of the file of a key."""
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.EUCLEAN, errno.EBADMSG)
# The character after the slash: a folder's name with this sorts after all keys in the folder.
_AFTER_SLASH = "0"


class Skipped:
    """Counts the files and folders that a walk has left out."""

    def __init__(self) -> None:
        self._first: OSError | None = None
        self._count = 0

    def add(self, error: OSError) -> None:
        """Count one."""
        self._first = self._first or error
        self._count += 1

    def check(self) -> None:
        """Raise ListingIncomplete if there are any."""
        if self._first is not None:
            where = f"{system_reason(self._first)}: {self._first.filename}"
            others = f" (and {self._count - 1} more)" if self._count > 1 else ""
            raise ListingIncomplete(f"cannot be listed: {where}{others}")


def walk_in_order(
    prefix: str,
    after: str,
    path_of: PathOf,
    info_of: InfoOf,
    skipped: Skipped,
) -> Iterator[ObjectInfo]:
    """Walk a tree in the order of keys, from the first one after *after* on. Raises OSError.

    The names in the folders along the current path are in memory. *skipped*: counts what cannot be read
    below the prefix.
    """
    levels = [_sorted_names(prefix, path_of)]
    while levels:
        name = next(levels[-1], None)
        if name is None:
            levels.pop()
        elif name.endswith("/"):
            folder = name[:-1]
            if folder + _AFTER_SLASH > after:
                try:
                    levels.append(_sorted_names(folder, path_of))
                except OSError as error:
                    _skip(error, skipped)
        elif name > after:
            try:
                status = os.lstat(path_of(name))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                _skip(error, skipped)
            else:
                yield info_of(name, status)


def _skip(error: OSError, skipped: Skipped) -> None:
    if error.errno not in _UNREADABLE:
        raise error
    skipped.add(error)


def _sorted_names(folder: str, path_of: PathOf) -> Iterator[str]:
    """Return the keys of a folder's files and, with a slash at the end, of its folders, sorted."""
    names = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path_of(folder)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                names.append(f"{folder}/{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                names.append(f"{folder}/{entry.name}")
    return iter(sorted(names))
