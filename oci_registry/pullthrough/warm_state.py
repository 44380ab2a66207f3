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
    """Limits of warming, in numbers and seconds. *images*: of one warming. *jobs*: requests and
    downloads at once. *kept*: warmings that are remembered. *manifests*: of one image. *blobs*: that
    wait before those manifests that are not fetched yet wait for them. *logged*: images of one warming
    whose failure has a line in the log. *again*: seconds until another attempt when the mirror itself
    has too much to do, *attempts*: how often.
    """

    images: int = 500
    jobs: int = 64
    kept: int = 20
    manifests: int = 1000
    blobs: int = 2000
    logged: int = 100
    again: float = 5.0
    attempts: int = 12


class TooMuch(ValueError):
    """More is to be warmed than the limits allow; the message says so."""


class AlreadyRunning(Exception):
    """Another warming is running; the message says how far it is."""


class ImageState(Enum):
    """The state of an image; the last four are final, but DONE may become FAILED in the end."""

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
    known: set[Digest] = Factory(set)
    """Its blobs, each of which counts once; empty when its state is final."""
    found: list[Digest] = Factory(list)
    """Its manifests, as far as they were found."""

    def becomes(self, state: ImageState) -> None:
        """Change its state."""
        self.state = state
        if state.final:
            self.known.clear()
        if state.final and state is not ImageState.DONE:
            self.found.clear()

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
