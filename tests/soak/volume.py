"""The small volume that the daemon of the soak stores on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_MIB = 256


@contextmanager
def small_volume(place: Path) -> Iterator[bool]:
    """Make *place* a volume of `SIZE_MIB` for as long as the context lasts.

    That takes root, and the right to mount. Gives whether it was done; if not it is an ordinary
    directory, and the disk does not get full.
    """
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "oci-registry-soak", str(place)]
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = mounted and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def leftovers(root: Path) -> list[str]:
    """Return the names of what was not finished."""
    return sorted(path.name for path in (root / "transfers").glob("*"))


def remove_objects(root: Path) -> None:
    """Remove all that is stored, but nothing that is being downloaded."""
    for folder in ("blobs", "repositories"):
        for path in (root / folder).rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):
                if not path.is_dir():
                    path.unlink()
