"""What the API does with the scrub: start a pass, say how far it is, stop it."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from oci_registry.admin.fields import Parameter, Values, Whole
from oci_registry.admin.routes import AnyRoute, Route
from oci_registry.management.as_json import Answer
from oci_registry.scrub.scrub import ScrubStatus

_GROUP = "Scrub"
_FASTEST = 1024**4


class Scrubbing(Protocol):
    """A scrub, as this API uses it."""

    @property
    def status(self) -> ScrubStatus:
        """What it is doing."""

    def start(self, rate: float | None = None) -> bool:
        """Begin a pass, or go on with one; return False if one is running. *rate*: bytes per second."""

    def stop(self) -> Deferred[None]:
        """Stop the pass that is running; fires when it has stopped."""


@frozen
class ScrubState(Answer):
    """The pass that is running, or the latest one.

    *since*: when it began; null before the first one. *ended*: when it ended, null if it has not. *position*:
    the key of the last object that was checked. *objects*, *blobs*, *bytes*: how many were checked. *found*:
    corrupt objects, of which so many are in *quarantine*, were *removed*, or were fetched again (*refetched*).
    *dangling*: tags whose manifest is not stored. *rate*: bytes a second, 0 without a limit. *problem*: why the
    pass has stopped before its end.
    """

    running: bool
    position: str
    objects: int
    blobs: int
    bytes: int
    found: int
    quarantined: int
    removed: int
    refetched: int
    dangling: int
    since: float | None
    ended: float | None
    rate: float
    problem: str | None


class ScrubHandlers:
    """Answers questions about a scrub, and starts and stops it."""

    def __init__(self, scrub: Scrubbing) -> None:
        self._scrub = scrub

    async def status(self, values: Values) -> ScrubState:
        """Return what the scrub is doing."""
        status = self._scrub.status
        return ScrubState(
            running=status.running,
            position=status.position,
            objects=status.objects,
            blobs=status.blobs,
            bytes=status.bytes,
            found=status.found,
            quarantined=status.quarantined,
            removed=status.removed,
            refetched=status.refetched,
            dangling=status.dangling,
            since=status.since,
            ended=status.ended,
            rate=float(status.rate),
            problem=status.problem,
        )

    async def start(self, values: Values) -> ScrubState:
        """Start a pass, or go on with one, unless one is running."""
        rate = values["rate"]
        self._scrub.start(None if rate is None else float(rate))
        return await self.status(values)

    async def stop(self, values: Values) -> ScrubState:
        """Stop the pass that is running; its progress is kept."""
        await self._scrub.stop()
        return await self.status(values)


def scrub_routes(scrub: ScrubHandlers) -> list[AnyRoute]:
    """Return the routes about the scrub."""
    rate = Parameter("rate", Whole(0, _FASTEST), "bytes a second for this pass; 0: no limit")
    return [
        Route("GET", "/scrub", "scrub", _GROUP, "The latest scrub", ScrubState, scrub.status),
        Route(
            "POST",
            "/scrub",
            "start_scrub",
            _GROUP,
            "Start a scrub, or go on with one, unless one is running",
            ScrubState,
            scrub.start,
            body=[rate],
            status=202,
        ),
        Route(
            "DELETE",
            "/scrub",
            "stop_scrub",
            _GROUP,
            "Stop the scrub that is running; its progress is kept",
            ScrubState,
            scrub.stop,
        ),
    ]
