"""How far the warming of images has come."""

from __future__ import annotations

from enum import Enum

from attrs import Factory, define, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName

MOST_PROBLEMS = 5
"""Problems of one image that are kept, and notes."""
MOST_PLATFORMS = 100
"""Platforms of one image that are kept."""


@frozen
class WarmLimits:
    """*images*: of one warming. *jobs*: requests and downloads at once. *running*: warmings at once.
    *kept*: warmings that are remembered. *manifests*: of one image. *again*: seconds until another
    attempt when the mirror itself has too much to do, of which there are *attempts*.
    """

    images: int = 2000
    jobs: int = 32
    running: int = 4
    kept: int = 20
    manifests: int = 1000
    again: float = 5.0
    attempts: int = 12


class TooMuch(ValueError):
    """More is to be warmed than the limits allow; the message says so."""


class ImageState(Enum):
    """The state of an image; the last four are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    """All of it is stored."""
    FAILED = "failed"
    """Something of it is missing; its problems say what."""
    LEFT = "left"
    """Its upstream is rate limited, or the rest of the limit is reserved; begin again later."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it does not change any more."""
        return self not in (ImageState.WAITING, ImageState.RUNNING)


@define(eq=False)
class WarmImage:
    """One image: what there is of it, as far as is known, and what of that is stored.

    *fetched*: manifests and blobs that were downloaded for it. *bytes*: of its blobs, as manifests state
    them; *bytes_stored* of them are stored. *notes*: what is unusual, but not missing.
    """

    name: ImageName
    state: ImageState = ImageState.WAITING
    digest: Digest | None = None
    platforms: list[str] = Factory(list)
    manifests: int = 0
    blobs: int = 0
    blobs_stored: int = 0
    bytes: int = 0
    bytes_stored: int = 0
    fetched: int = 0
    problems: list[str] = Factory(list)
    notes: list[str] = Factory(list)
    reserved: bool = False
    """Whether something was not requested because of the upstream's rate limit."""
    tasks: int = 0
    """What is still to be done for it."""

    def note(self, text: str) -> None:
        """Note something that is unusual."""
        if len(self.notes) < MOST_PROBLEMS and text not in self.notes:
            self.notes.append(text)

    def has_platform(self, text: str) -> None:
        """Note a platform."""
        if len(self.platforms) < MOST_PLATFORMS and text not in self.platforms:
            self.platforms.append(text)

    def problem(self, text: str) -> None:
        """Note something that is missing."""
        if len(self.problems) < MOST_PROBLEMS and text not in self.problems:
            self.problems.append(text)

    def as_json(self) -> dict[str, object]:
        """Return all of it for JSON."""
        return {
            "name": str(self.name),
            "state": self.state.value,
            "digest": None if self.digest is None else str(self.digest),
            "platforms": list(self.platforms),
            "manifests": self.manifests,
            "blobs": self.blobs,
            "blobs_stored": self.blobs_stored,
            "bytes": self.bytes,
            "bytes_stored": self.bytes_stored,
            "fetched": self.fetched,
            "problems": list(self.problems),
            "notes": list(self.notes),
        }
