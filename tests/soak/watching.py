"""What the soak looks at in the store, once a second: how much there is, and that what is pinned stays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from attrs import Factory, define

from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.soak.damage import Damage
from tests.soak.images import EDGE, Image

NAMESPACE = "docker.io"
_COUNTED = ("blobs", "repositories", "quarantine", "pins", "holds", "histories", "scrub")


def bytes_on_disk(paths: Iterable[Path]) -> dict[str, int]:
    """Return what each file takes; *paths* are files, and folders with files."""
    found: dict[str, int] = {}
    for top in paths:
        inside = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
        for path in inside if top.is_dir() else [top]:
            try:
                found[str(path)] = path.lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return found


@define
class DiskUse:
    """What the store at *root* takes.

    *most*: the most bytes at once without what is being written; *most_written*: the most of that. What was
    there at a look and is there at the next was there all the time between: only that counts, since a look
    takes time.
    """

    root: Path
    most: int = 0
    most_written: int = 0
    looks: int = 0
    _before: dict[str, int] = Factory(dict)

    def look(self) -> None:
        """Look at all files."""
        now = bytes_on_disk(
            [*(self.root / name for name in _COUNTED), *self.root.glob("account.sqlite*")]
        )
        stayed = (min(size, self._before.get(path, 0)) for path, size in now.items())
        self.most = max(self.most, sum(stayed))
        self._before = now
        written = sum(bytes_on_disk([self.root / "transfers"]).values())
        self.most_written = max(self.most_written, written)
        self.looks += 1


class Kept:
    """Images that must stay, as pinned ones and those at which tags are held; *gone*: what did not.

    Once its manifest and its tag were seen, what was seen of such an image must be there at each look from then
    on, but for what is damaged. (Before that, nothing tells the daemon which blobs are meant.) What a tag is
    held at needs no tag.
    """

    def __init__(self, root: Path, damage: Damage) -> None:
        self.gone: list[str] = []
        self.looks = 0
        self._root = root
        self._damage = damage
        self._images: dict[str, Image] = {}
        self._seen: dict[str, set[str]] = {}

    def add(self, name: str, image: Image) -> None:
        """Watch an image from now on; *name*: what is pinned or held."""
        self._images[name] = image
        self._seen[name] = set()

    def remove(self, name: str) -> None:
        """Watch it no longer. Idempotent."""
        self._images.pop(name, None)
        self._seen.pop(name, None)

    def names(self) -> list[str]:
        """Return what is watched."""
        return list(self._images)

    def digests(self) -> set[Digest]:
        """Return the digests of the images that are watched."""
        return {image.digest for image in self._images.values()}

    def look(self) -> None:
        """Look whether all is there."""
        for name, image in self._images.items():
            needed = {manifest_key(NAMESPACE, image.digest)}
            if image.tag != EDGE:
                needed.add(tag_key(NAMESPACE, image.repository, image.tag))
            before = self._seen[name]
            if not before:
                stored = self._stored(needed)
                self._seen[name] = stored if stored == needed else set()
                continue
            blobs = {blob_key(blob) for blob in image.blobs if not self._damage.is_open(blob)}
            there = self._stored(needed | blobs)
            lost = before & (needed | blobs) - there
            self.gone += [f"{name}: {key}" for key in sorted(lost)]
            self._seen[name] = there
            self.looks += len(there)

    def _stored(self, keys: set[str]) -> set[str]:
        return {key for key in keys if (self._root / key).exists()}
