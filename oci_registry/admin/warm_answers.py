"""What the admin API says of warming: images that the daemon fetches before clients pull them."""

from __future__ import annotations

from attrs import frozen

from oci_registry.management.as_json import Answer


@frozen
class WarmReserve(Answer):
    """A registry of which nothing more was requested, since it is rate limited: the *reason*."""

    registry: str
    reason: str


@frozen
class WarmProblem(Answer):
    """An image that is not stored completely, and the first *reason*."""

    image: str
    reason: str


@frozen
class WarmStatus(Answer):
    """The warming that is running, or another one.

    *run*: its number; null before the first one. *state*: `none`, `running`, `ended`, `reserve` (it has ended,
    but images are left because their registry is rate limited) or `cancelled`. *began*, *ended*: when; null if
    it has not. *platforms*: those that are fetched, all if there are none. *images* is the sum of those that
    are *waiting*, *running*, *done* (stored completely), *failed*, *left* and *cancelled*. *fetched*: manifests
    and blobs that were downloaded. *bytes*: of the blobs of all images, as far as their manifests are known;
    *bytes_stored* of these are stored, and *bytes_received* were received of running downloads. *reserved*:
    registries that are rate limited. *problems*: of the first 100 images that have failed.
    """

    run: int | None
    state: str
    began: float | None
    ended: float | None
    platforms: tuple[str, ...]
    jobs: int
    images: int
    waiting: int
    running: int
    done: int
    failed: int
    left: int
    cancelled: int
    fetched: int
    bytes: int
    bytes_stored: int
    bytes_received: int
    reserved: tuple[WarmReserve, ...]
    problems: tuple[WarmProblem, ...]


@frozen
class WarmedImage(Answer):
    """An image of a warming.

    *state*: `waiting`, `running`, `done`, `failed`, `left` or `cancelled`. *digest*: null while it is not
    known. *platforms*: of the manifests that are fetched. *manifests*, *blobs*, *bytes*: what it consists of,
    as far as that is known. *fetched*: manifests and blobs that were downloaded for it; blobs of several
    images count for one of them. *problems*: what is missing, and why. *notes*: what is unusual, but not
    missing.
    """

    name: str
    state: str
    digest: str | None
    platforms: tuple[str, ...]
    manifests: int
    blobs: int
    blobs_stored: int
    bytes: int
    bytes_stored: int
    fetched: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@frozen
class WarmedImages(Answer):
    """Some images of the warming *run*, in the order in which they were given.

    *next*: send it as ``after`` for those that follow; null if there are none.
    """

    run: int
    images: tuple[WarmedImage, ...]
    next: str | None
