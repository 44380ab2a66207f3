"""The final report of the command ``warm``, for both ways of fetching."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from oci_registry.commands.output import Output, counted, some
from oci_registry.commands.problems import DONE, FAILED
from oci_registry.spec.units import in_bytes

COMPLETE, INCOMPLETE, LEFT, CANCELLED = "done", "failed", "left", "cancelled"
"""The final states of an image."""


@frozen
class Warmed:
    """The outcome for an image.

    *manifests*, *blobs*, *bytes*: its size, as far as that is known. *fetched*: how many of these
    were downloaded. *problem*: why its state is not `COMPLETE`.
    """

    name: str
    state: str
    digest: str | None
    platforms: Sequence[str]
    manifests: int
    blobs: int
    bytes: int
    fetched: int
    problem: str | None


def report(images: Sequence[Warmed], output: Output) -> int:
    """Print the outcomes for the images; return the exit status."""
    for image in images:
        if image.state == COMPLETE:
            of = f" ({', '.join(image.platforms)})" if image.platforms else ""
            new = "" if image.fetched else ", all stored before"
            output.line(f"{image.name} {image.digest}{of}: {in_bytes(image.bytes)}{new}")
        elif image.state not in (LEFT, CANCELLED):
            output.problem(f"{image.name}: {image.problem}")
    left = [image for image in images if image.state in (LEFT, CANCELLED)]
    for reason in dict.fromkeys(image.problem for image in left):
        names = [image.name for image in left if image.problem == reason]
        output.problem(
            f"{reason}: {counted(len(names), 'image')} left, begin again later: {some(names)}"
        )
    there = sum(image.state == COMPLETE for image in images)
    output.line(f"{there} of {counted(len(images), 'image')} stored completely")
    output.finish({"images": [_described(image) for image in images]})
    return FAILED if output.problems else DONE


def _described(image: Warmed) -> dict[str, object]:
    return {
        "name": image.name,
        "state": image.state,
        "digest": image.digest,
        "platforms": list(image.platforms),
        "manifests": image.manifests,
        "blobs": image.blobs,
        "bytes": image.bytes,
        "fetched": image.fetched,
        "problem": image.problem,
    }
