"""Makes a mirror fetch images by requesting all their parts, but hardly any of the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import Factory, define, frozen

from oci_registry.commands.contents import Wanted
from oci_registry.commands.mirror import Answer, Mirror, NoAnswer
from oci_registry.spec.contents import (
    DEEPEST,
    MOST,
    Child,
    Unreadable,
    children_of,
    is_elsewhere,
    layers_of,
)
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError, TooManyRequests
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS
from oci_registry.spec.reference import Reference

BACKGROUND = {"Priority": "u=7"}
"""The lowest urgency (RFC 9218): the mirror's clients go first, and keep the reserve of a rate limit."""
_MANIFEST = {**BACKGROUND, "Accept": ACCEPT_MANIFESTS}
# One byte is enough: a download continues without a client.
_FIRST_BYTE = {**BACKGROUND, "Range": "bytes=0-0"}
_HIT, _NEW = "hit", "fwd=miss"


class Missing(Exception):
    """A part of an image is missing; the message says which, and why."""


class Left(Missing):
    """A registry is rate limited, or the rest of its limit is reserved; try again later."""


@frozen
class Patience:
    """Waiting times in seconds. *first*: until the first check of a download, *longest*: between two
    later ones. *busy*: the longest ``Retry-After`` that is waited for, at most *attempts* times.
    *downloads*: attempts to get a blob stored.
    """

    first: float = 0.05
    longest: float = 2.0
    busy: float = 30.0
    attempts: int = 12
    downloads: int = 2
    sleep: Callable[[float], None] = time.sleep


@define(eq=False)
class Image:
    """An image and its stored parts. *problem*: what is missing; *left*: it may be fetched later."""

    name: ImageName
    digest: Digest | None = None
    platforms: list[str] = Factory(list)
    manifests: int = 0
    fetched: int = 0
    blobs: dict[Digest, Descriptor] = Factory(dict)
    problem: str | None = None
    left: bool = False

    def missing(self, error: Exception) -> None:
        """Record the first missing part."""
        if self.problem is None or (self.left and not isinstance(error, Left)):
            self.problem = str(error)
            self.left = isinstance(error, Left)

    @property
    def state(self) -> str:
        """done, failed or left."""
        if self.problem is None:
            return "done"
        return "left" if self.left else "failed"

    @property
    def size(self) -> int:
        """The bytes of all blobs, as manifests state them."""
        return sum(blob.size or 0 for blob in self.blobs.values())


@define
class Warming:
    """Makes *mirror* fetch manifests and blobs. Methods may be called in several threads."""

    mirror: Mirror
    wanted: Wanted
    patience: Patience = Factory(Patience)
    elsewhere: set[Digest] = Factory(set)
    """Layers that were not there to be stored, since registries do not distribute them."""

    def find(self, image: Image) -> None:
        """Get all manifests of an image fetched, and collect its blobs. Raises `Missing`."""
        self._walk(image, image.name.reference, DEEPEST)

    def _walk(self, image: Image, reference: Reference, depth: int) -> None:
        try:
            manifest = self._manifest(image, reference)
            children = children_of(manifest)
            if children is None:
                for blob in layers_of(manifest):
                    image.blobs.setdefault(blob.digest, blob)
                return
        except (Unreadable, RegistryError) as error:
            raise Missing(str(error)) from None
        if not depth:
            raise Missing(f"the index {manifest.digest} has too many levels")
        wanted = list(self._chosen(children))
        if children and not wanted:
            there = sorted({str(c.platform) for c in children if c.platform is not None})
            raise Missing(f"it has no such platform, only {', '.join(there) or 'others'}")
        for child in wanted:
            if child.platform is not None:
                image.platforms.append(str(child.platform))
            self._walk(image, child.descriptor.digest, depth - 1)

    def _chosen(self, children: list[Child]) -> Iterator[Child]:
        return (child for child in children if self.wanted(child))

    def _manifest(self, image: Image, reference: Reference) -> Manifest:
        image.manifests += 1
        if image.manifests > MOST:
            raise Missing(f"it has more than {MOST} manifests")
        answer = self._get(image.name, f"manifests/{reference}", _MANIFEST, MAX_MANIFEST_SIZE)
        if answer.status != 200:
            raise Missing(answer.reason)
        if not answer.outcome:
            raise Missing(f"{self.mirror.url} is a registry, but not oci-registry")
        asked = reference if isinstance(reference, Digest) else None
        manifest = Manifest.read(answer.body, answer.headers.get("content-type"), asked)
        if image.digest is None:
            image.digest = manifest.digest
        image.fetched += answer.outcome.startswith(_NEW)
        return manifest

    def blob(self, name: ImageName, blob: Descriptor) -> bool:
        """Get a blob stored; return whether it had to be downloaded. Raises `Missing`."""
        begun, pause, fetched = 0, self.patience.first, False
        while True:
            answer = self._get(name, f"blobs/{blob.digest}", _FIRST_BYTE, 1)
            if answer.status == 404 and is_elsewhere(blob):
                self.elsewhere.add(blob.digest)
                return fetched
            # 416: it is empty. 307: it is in the bucket.
            if answer.status not in (200, 206, 307, 416):
                raise Missing(f"blob {blob.digest}: {answer.reason}")
            if answer.status == 307 or answer.outcome.startswith(_HIT) or not answer.outcome:
                return fetched
            if "collapsed" not in answer.outcome:
                begun += 1
                if begun > self.patience.downloads or "stored" not in answer.outcome:
                    raise Missing(
                        f"blob {blob.digest}: the mirror does not store it; see its log for the reason"
                    )
                pause = self.patience.first
            fetched = True
            self.patience.sleep(pause)
            pause = min(pause * 1.5, self.patience.longest)

    def _get(self, name: ImageName, what: str, headers: dict[str, str], limit: int) -> Answer:
        """Return an answer; wait and repeat while the mirror is too busy."""
        for _ in range(self.patience.attempts):
            try:
                answer = self.mirror.get(name, what, headers, limit)
            except NoAnswer as error:
                raise Missing(str(error)) from None
            if answer.error != TooManyRequests.code:
                return answer
            seconds = _retry_after(answer)
            if seconds > self.patience.busy:
                # This is not about the whole registry: stored content is still served.
                raise Left(answer.reason)
            self.patience.sleep(seconds)
        raise Left(answer.reason)


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 5.0
