"""Walks over the files below a directory in the order of their keys. It blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from oci_registry.storage.interfaces import ObjectInfo

PathOf = Callable[[str], Path]
"""Returns the path of a key."""
InfoOf = Callable[[str, os.stat_result], ObjectInfo]
"""Returns what is known of the file of a key."""
# What follows the slash: no key in a folder sorts behind its name with this.
_AFTER_SLASH = "0"


def walk_in_order(
    prefix: str, after: str, path_of: PathOf, info_of: InfoOf
) -> Iterator[ObjectInfo]:
    """Walk a tree in the order of keys, from the first one after *after* on. Raises OSError.

    The names in the folders that it is in are in memory.
    """
    levels = [_sorted_names(prefix, path_of)]
    while levels:
        name = next(levels[-1], None)
        if name is None:
            levels.pop()
        elif name.endswith("/"):
            folder = name[:-1]
            if folder + _AFTER_SLASH > after:
                levels.append(_sorted_names(folder, path_of))
        elif name > after:
            with suppress(FileNotFoundError, NotADirectoryError):
                yield info_of(name, os.lstat(path_of(name)))


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
