"""Answers of the admin API about warming: images that the daemon fetches before clients pull them."""

from __future__ import annotations

from attrs import frozen

from oci_registry.management.as_json import Answer


@frozen
class WarmReserve(Answer):
    """A registry that was not asked for more, since it is rate limited, and the *reason*."""

    registry: str
    reason: str


@frozen
class WarmProblem(Answer):
    """An image that is not stored completely, and the first *reason*."""

    image: str
    reason: str


@frozen
class WarmStatus(Answer):
    """The state of a warming.

    *run*: its number; null before the first one. *state*: `none`, `running`, `ended`, `reserve` (it has ended,
    but images are left because their registry is rate limited) or `cancelled`. *began*, *ended*: the
    times; null if it has not begun or ended. *platforms*: those that are fetched, all if there are
    none. *images*: the sum of *waiting*, *running*, *done* (stored completely), *failed*, *left* and
    *cancelled*. *fetched*: manifests and blobs that were downloaded. *bytes*: the size of the blobs of
    all images, as far as their manifests are known; *bytes_stored*: the stored part; *bytes_received*:
    bytes received by running downloads. *reserved*: registries that are rate limited. *problems*: those
    of the first 100 images that have failed.
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
    known. *platforms*: those of the fetched manifests. *manifests*, *blobs*, *bytes*: its size, as far
    as that is known. *fetched*: manifests and blobs that were downloaded for it; a blob of several
    images counts for one of them. *problems*: missing parts, and why they are missing. *notes*: other
    unusual facts.
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
    """A page of the images of the warming *run*, in the given order.

    *next*: the ``after`` of the next page; null on the last one.
    """

    run: int
    images: tuple[WarmedImage, ...]
    next: str | None
