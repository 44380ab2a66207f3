"""The answers to questions about a store, and to changes of it.

Times are seconds since the epoch, sizes are bytes. All of them are JSON objects (`to_json`, `from_json`).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from oci_registry.management.as_json import Answer


@frozen
class StoredImage(Answer):
    """A stored image: a tag, or a digest that no tag and no index names.

    *name*: as in commands. *repository*: None if it is not known: an earlier version pulled the image
    by digest. *platforms*: those that are stored. *size*: everything that is stored of it; *unique*:
    the part that no other image needs. *blobs*: how many its stored manifests name; *stored_blobs*: how
    many of them are stored; *complete*: whether all are. *added*: when it was first stored; *used*:
    when any part of it was last pulled, as far as is known. *pulls*: how often it was pulled since it
    was stored, once a minute at most; None if that is not known.
    """

    name: str
    registry: str
    repository: str | None
    tag: str | None
    digest: str
    media_type: str | None
    platforms: tuple[str, ...]
    size: int
    unique: int
    blobs: int
    stored_blobs: int
    complete: bool
    added: float | None
    used: float | None
    pulls: int | None
    pinned: bool


@frozen
class ImagePage(Answer):
    """A page of images, in the requested order.

    *next*: the value of `Wanted.after` for the next page; None if there is none. *whole*: false while
    the index of the store is being built, so that there may be more images.
    """

    images: tuple[StoredImage, ...]
    next: str | None
    whole: bool


@frozen
class ShownBlob(Answer):
    """A blob that a manifest names: the config or a layer.

    *size*: as the manifest states it. *stored_size*: None if it is not stored. *named_by*: how many stored
    manifests name it.
    """

    digest: str
    media_type: str | None
    size: int | None
    stored: bool
    stored_size: int | None
    named_by: int


@frozen
class ShownManifest(Answer):
    """A manifest of an image, with its blobs, or the manifests in it if it is an index.

    *problem*: why its content cannot be shown; None if it can.
    """

    digest: str
    media_type: str | None
    platform: str | None
    stored: bool
    size: int | None
    problem: str | None
    blobs: tuple[ShownBlob, ...]
    manifests: tuple[ShownManifest, ...]


@frozen
class ImageDetails(Answer):
    """Everything that is stored of an image.

    *tags*: the images that name the same digest. *shared_with*: other images with the same blobs, only
    some of them if there are many.
    """

    image: StoredImage
    manifest: ShownManifest
    tags: tuple[str, ...]
    shared_with: tuple[str, ...]


@frozen
class RepositoryUse(Answer):
    """How much is stored of a repository, or of a whole registry.

    *repository*: None for images whose repository is not known, and for a registry as a whole. *images*: tags,
    and digests without one. *unique*: the bytes that nothing else needs; *shared*: those that others
    need too. *blobs*: the number of blobs of both kinds.
    """

    registry: str
    repository: str | None
    images: int
    manifests: int
    blobs: int
    unique: int
    shared: int


@frozen
class DiskUse(Answer):
    """How much is stored, by registry and repository.

    *size*: blobs and manifests, each counted once. *unnamed_blobs*, *unnamed_size*: blobs that no manifest
    names. *free*: free bytes of the volume; None if it has no limit. *whole*: as for `ImagePage`.
    """

    registries: tuple[RepositoryUse, ...]
    repositories: tuple[RepositoryUse, ...]
    blobs: int
    manifests: int
    size: int
    unnamed_blobs: int
    unnamed_size: int
    free: int | None
    whole: bool


@frozen
class Why(Answer):
    """The state of an image: what is stored of it, how fresh it is, and why it is kept.

    *checked*: when the registry last confirmed the tag; *fresh_until*: until when it is served without
    asking; both None for a digest, or if it is not known. *pinned*: who has pinned it. *queue*,
    *ahead*: its position in the eviction: the queue, and how many of its images are evicted first.
    *lifetime*: seconds that it is kept without being used, *expires*: the end of that time; None: for
    ever, or not known (*forever* tells which). *reasons*: the same in sentences. *upstream*: the
    running daemon's state of the registry; None without a daemon.
    """

    name: str
    digest: str | None
    image: StoredImage | None
    checked: float | None
    fresh_until: float | None
    must_revalidate: bool
    pinned: tuple[str, ...]
    queue: str | None
    ahead: int | None
    lifetime: float | None
    expires: float | None
    forever: bool
    reasons: tuple[str, ...]
    upstream: Mapping[str, object] | None


@frozen
class Removal(Answer):
    """The result of a removal.

    *tags*: names of images. *manifests*, *blobs*: digests. *size*: the bytes of both. *kept*: blobs
    that were kept because they are in use.
    """

    tags: tuple[str, ...]
    manifests: tuple[str, ...]
    blobs: tuple[str, ...]
    size: int
    kept: tuple[str, ...]


@frozen
class Refreshed(Answer):
    """The next pull of the image *name* asks the registry whether it still means *digest*."""

    name: str
    digest: str


@frozen
class PinChange(Answer):
    """An image was pinned or unpinned; *changed*: it was not before."""

    name: str
    pinned: bool
    changed: bool


@frozen
class PinList(Answer):
    """The images that the operator has pinned, by name."""

    pins: tuple[str, ...]
