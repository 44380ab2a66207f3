"""What can be known of a store: the answers to questions about it, and to changes.

Times are seconds since the epoch, sizes are bytes. All of them are JSON objects (`to_json`, `from_json`).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from oci_registry.management.as_json import Answer


@frozen
class StoredImage(Answer):
    """A stored image: a tag, or a digest that no tag and no index names.

    *name*: as in commands. *repository*: None if it is not known: an image that was pulled by digest, by an
    earlier version. *platforms*: those that are stored. *size*: all that is stored of it; *unique*: the part
    that no other image needs. *blobs*: how many its stored manifests name, of which *stored_blobs* are
    stored; *complete*: that is all of them. *added*: when it was stored first, *used*: when it was last
    pulled, or anything of it, as far as is known. *pulls*: how often it was pulled since it was stored, once a
    minute at most; None if that is not known.
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
    """Some images, in the order that was asked for.

    *next*: what to ask for the images that follow; None if there are none. *whole*: False while the index of
    the store is being built: there may be more images.
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
    """All that is stored of an image.

    *tags*: the images that name the same digest. *shared_with*: images with blobs of it, some of them if
    there are many.
    """

    image: StoredImage
    manifest: ShownManifest
    tags: tuple[str, ...]
    shared_with: tuple[str, ...]


@frozen
class RepositoryUse(Answer):
    """What a repository, or a whole registry, has stored.

    *repository*: None for images whose repository is not known, and for a registry as a whole. *images*: tags,
    and digests without one. *unique*: the bytes of what nothing else needs; *shared*: those of what another
    one needs too. *blobs*: how many there are of both.
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
    """How much is stored, and by whom.

    *size*: blobs and manifests, each counted once. *unnamed_blobs*, *unnamed_size*: blobs that no manifest
    names. *free*: what the volume has; None if it has no limit. *whole*: as for `ImagePage`.
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
    """What is cached of an image, how fresh it is, and why it is kept.

    *checked*: when the registry last confirmed the tag; *fresh_until*: until when it is served without
    asking; both None for a digest, or if it is not known. *pinned*: by whom. *queue*, *ahead*: its place when
    room is needed: the queue, and how many images of it come before. *lifetime*: seconds that it is kept
    without being used, *expires*: until when; None: for ever, or not known (*forever*: which of both).
    *reasons*: all that in sentences. *upstream*: what the running daemon knows of the registry; None without
    one.
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
    """What was removed.

    *tags*: names of images. *manifests*, *blobs*: digests. *size*: the bytes of both. *kept*: blobs that are in
    use at present and so were kept.
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
