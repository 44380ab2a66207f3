"""The API's handlers for figures: activity over time, the disk, the first images of an order."""

from __future__ import annotations

from typing import Protocol

from oci_registry.admin.fields import Choice, Parameter, Values, Whole
from oci_registry.admin.figures_answers import Activity, Disk, TopImages
from oci_registry.admin.routes import AnyRoute, Route

_GROUP = "Figures"
MOST_IMAGES = 20
"""The maximum number of images in `TopImages`."""
PERIODS = ("hour", "day", "week")
ORDERS = ("size", "pulls")


class Figures(Protocol):
    """The source of the figures."""

    async def activity(self, period: str) -> Activity:
        """Return what has happened over a period, one of `PERIODS`."""

    async def disk(self) -> Disk:
        """Return what the store takes."""

    async def top(self, order: str, limit: int) -> TopImages:
        """Return the first images in an order, one of `ORDERS`; raise `NotReady`, `StoreError`."""


class FigureHandlers:
    """Answers with figures."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    async def activity(self, values: Values) -> Activity:
        """Return what has happened over a period."""
        return await self._figures.activity(values["period"])

    async def disk(self, values: Values) -> Disk:
        """Return what the store takes."""
        return await self._figures.disk()

    async def top(self, values: Values) -> TopImages:
        """Return the first images in an order."""
        return await self._figures.top(values["order"], values["limit"])


def figure_routes(figures: FigureHandlers) -> list[AnyRoute]:
    """Return the routes of figures."""
    return [
        Route(
            "GET",
            "/activity",
            "activity",
            _GROUP,
            "Requests, hits, bytes and pulls over the last hour, day or week",
            Activity,
            figures.activity,
            query=[Parameter("period", Choice(PERIODS), "the time up to now", default="hour")],
        ),
        Route(
            "GET",
            "/disk",
            "disk",
            _GROUP,
            "What the store takes, its limits, and what is evicted next",
            Disk,
            figures.disk,
        ),
        Route(
            "GET",
            "/images/top",
            "top_images",
            _GROUP,
            "The largest images, or those that were pulled most",
            TopImages,
            figures.top,
            query=[
                Parameter("order", Choice(ORDERS), "the order", default="size"),
                Parameter("limit", Whole(1, MOST_IMAGES), "the most of them", default=10),
            ],
        ),
    ]
