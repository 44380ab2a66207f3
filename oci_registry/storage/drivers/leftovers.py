"""Files in a directory that dead processes were writing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from oci_registry.storage.drivers.files import open_locked

ABANDONED = 86400.0
"""Seconds after which a growing file counts as abandoned, on a volume without locks."""


def remove_leftovers(folder: Path, now: float) -> None:
    """Remove the files in *folder* that no process writes; *now* is in seconds since the epoch. Raises OSError.

    All files are tried before an error is raised.
    """
    failed: OSError | None = None
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                _remove_leftover(entry, now)
            except OSError as error:
                failed = error
    if failed is not None:
        raise failed


def _remove_leftover(entry: os.DirEntry[str], now: float) -> None:
    """Remove a file of a dead process; keep folders, and files that a running process has locked."""
    if entry.is_dir(follow_symlinks=False):
        return
    with suppress(FileNotFoundError):
        if entry.is_symlink():
            os.unlink(entry.path)
            return
        # Read-only, since the file may have been sealed already.
        descriptor = open_locked(entry.path, os.O_RDONLY)
        if descriptor is None:
            # It is locked, or the volume has no locks, in which case its age decides.
            if now - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
                os.unlink(entry.path)
            return
        try:
            os.unlink(entry.path)
        finally:
            os.close(descriptor)
