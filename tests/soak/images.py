"""The images of the soak: the same in every process that knows the seed."""

from __future__ import annotations

import json
from random import Random

from attrs import evolve, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST

MIB = 1024 * 1024
COUNT = 200
LARGEST = 8 * MIB
_POOL = 2 * LARGEST
_SHARED = 10
MOVING = 20
"""So many repositories have a tag besides, `EDGE`, that means another image every `MOVES` seconds."""
EDGE, MOVES = "edge", 20.0
_STRIDE = 7


@frozen
class Image:
    """What a client pulls."""

    repository: str
    tag: str
    manifest: bytes
    digest: Digest
    blobs: tuple[Digest, ...]


class Images:
    """All of them; the bytes of a blob are put together when they are asked for."""

    def __init__(self, seed: int, count: int = COUNT) -> None:
        random = Random(seed)
        self._pool = random.randbytes(_POOL)
        self._blobs: dict[Digest, tuple[bytes, int, int]] = {}
        shared = [self._add_layer(random) for _ in range(_SHARED)]
        self.images = [self._add_image(random, number, shared) for number in range(count)]
        self.manifests = {(image.repository, image.tag): image for image in self.images}
        self.manifests |= {(image.repository, str(image.digest)): image for image in self.images}
        self._by_digest = {image.digest: image for image in self.images}

    def by_digest(self, digest: Digest) -> Image | None:
        """Return the image with a digest, which any of the repositories with a moving tag may have."""
        return self._by_digest.get(digest)

    def edge(self, repository: str, when: float) -> Image | None:
        """Return what the moving tag of a repository means at a time; None if it has none."""
        number = int(repository.rpartition("-")[2])
        if repository != f"library/app-{number}" or number >= MOVING:
            return None
        step = number + int(when / MOVES) * _STRIDE
        return evolve(self.images[step % len(self.images)], repository=repository, tag=EDGE)

    @property
    def total(self) -> int:
        """How many bytes all blobs have together."""
        return sum(len(head) + size for head, _, size in self._blobs.values())

    def content(self, digest: Digest) -> bytes:
        """Return a blob; KeyError if there is none."""
        head, offset, size = self._blobs[digest]
        return head + self._pool[offset : offset + size]

    def size(self, digest: Digest) -> int:
        """Return the length of a blob."""
        head, _, size = self._blobs[digest]
        return len(head) + size

    def _add(self, head: bytes, offset: int, size: int) -> Digest:
        digest = Digest.of(head + self._pool[offset : offset + size])
        self._blobs[digest] = head, offset, size
        return digest

    def _add_layer(self, random: Random) -> Digest:
        # Most layers are small, and a few have nothing but their name.
        size = int((LARGEST - 16) * random.random() ** 2.5)
        name = b"layer %010d" % len(self._blobs)
        return self._add(name, random.randrange(_POOL - size), size)

    def _add_image(self, random: Random, number: int, shared: list[Digest]) -> Image:
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": number}).encode()
        layers = [random.choice(shared), *(self._add_layer(random) for _ in range(2))]
        blobs = (self._add(config, 0, 0), *layers)
        described = [
            {"mediaType": "application/octet-stream", "digest": str(blob), "size": self.size(blob)}
            for blob in blobs
        ]
        value = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        raw = json.dumps(value).encode()
        return Image(f"library/app-{number}", "latest", raw, Digest.of(raw), blobs)
