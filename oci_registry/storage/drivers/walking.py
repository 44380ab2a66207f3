"""Walks folders: all files, or the folders that have something in a marked folder, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from heapq import nsmallest
from itertools import islice
from pathlib import Path

_DEEPEST = 130


def files_below(root: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files below *root* with their keys, which begin with *prefix*, in no particular order.

    Files may be added and removed meanwhile. Raises OSError.
    """
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            entries = os.scandir(f"{root}{below}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                path = f"{below}/{entry.name}"
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        yield prefix + path, entry


def marked_folders(
    root: Path, mark: str, after: str, limit: int, at_once: int = 1000
) -> tuple[list[str], bool]:
    """Return the result of `IDriver.marked` below a directory. Raises OSError.

    *at_once*: how many names of one folder are in memory at the same time. Each folder is read once for
    every so many names that come before the page is full.
    """
    found = list(islice(_below(root, "", mark, after, _DEEPEST, at_once), limit + 1))
    return found[:limit], len(found) > limit


def _below(root: Path, path: str, mark: str, after: str, depth: int, at_once: int) -> Iterator[str]:
    """Yield the marked folders below a path, in lexical order: ``a``, ``a-b``, ``a/b``."""
    prefix = f"{path}/" if path else ""
    for event in _events(root / path, prefix, after, at_once):
        # A name with a slash stands for everything below it: in that order it comes later than "a-b".
        name = prefix + event
        if not name.endswith("/"):
            if _has_files(root / name / mark):
                yield name
        elif depth:
            yield from _below(root, name[:-1], mark, after, depth - 1, at_once)


def _events(folder: Path, prefix: str, after: str, at_once: int) -> Iterator[str]:
    """Yield the names of folders, each once as it is and once with a slash, sorted; only those that matter."""
    last = ""
    while True:
        # In steps, since a folder may have any number of names.
        step = nsmallest(at_once, (one for one in _names(folder, prefix, after) if one > last))
        yield from step
        if len(step) < at_once:
            return
        last = step[-1]


def _names(folder: Path, prefix: str, after: str) -> Iterator[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("_") or not entry.is_dir(follow_symlinks=False):
                continue
            whole = prefix + name
            if whole > after:
                yield name
            if f"{whole}/" > after or after.startswith(f"{whole}/"):
                yield f"{name}/"


def _has_files(folder: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return any(entry.is_file(follow_symlinks=False) for entry in entries)
    return False


def split_marked(path: str) -> tuple[str, str] | None:
    """Return the path of a folder and the marked folder in it that a key below is in, None if it is in none."""
    parts = path.split("/")
    for at, part in enumerate(parts[:-1]):
        if part.startswith("_"):
            return "/".join(parts[:at]), part
    return None
