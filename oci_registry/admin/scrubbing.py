"""The API's handlers for the scrub: start a pass, return its state, stop it."""

from __future__ import annotations

from typing import Protocol

from attrs import asdict
from twisted.internet.defer import Deferred

from oci_registry.admin.answers import ScrubState
from oci_registry.admin.fields import Parameter, Values, Whole
from oci_registry.admin.routes import AnyRoute, Route
from oci_registry.scrub.scrub import ScrubStatus

_GROUP = "Scrub"
_FASTEST = 1024**4


class Scrubbing(Protocol):
    """A scrub, as this API uses it."""

    @property
    def status(self) -> ScrubStatus:
        """The state of the scrub."""

    def start(self, rate: float | None = None) -> bool:
        """Begin or continue a pass; return False if one is running. *rate*: bytes per second."""

    def stop(self) -> Deferred[None]:
        """Stop the pass that is running; fires when it has stopped."""


class ScrubHandlers:
    """Answers questions about a scrub, and starts and stops it."""

    def __init__(self, scrub: Scrubbing) -> None:
        self._scrub = scrub

    async def status(self, values: Values) -> ScrubState:
        """Return the state of the scrub."""
        return ScrubState(**asdict(self._scrub.status))

    async def start(self, values: Values) -> ScrubState:
        """Start or continue a pass, unless one is running."""
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
