"""The figures of a running daemon."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.admin.figures_answers import (
    Activity,
    ActivityCounts,
    ActivityPoint,
    Disk,
    TopImages,
)

_STEPS = {"hour": (60, 60), "day": (96, 900), "week": (84, 7200)}
_NOTHING = ActivityCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class DaemonFigures:
    """The figures of a daemon."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    async def activity(self, period: str) -> Activity:
        """Return what has happened over a period."""
        count, step = _STEPS[period]
        now = self._now()
        since = float((int(now) // step - count + 1) * step)
        points = tuple(ActivityPoint(since + step * i, step, _NOTHING) for i in range(count))
        return Activity(period, now, since, None, _NOTHING, points)

    async def disk(self) -> Disk:
        """Return what the store takes."""
        return Disk(self._now(), None, None, None, 0, None, None, None, None)

    async def top(self, order: str, limit: int) -> TopImages:
        """Return the first images in an order."""
        return TopImages(order, self._now(), (), False)
