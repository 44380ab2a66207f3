"""The images that take the most room, and those that were pulled most."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from enum import StrEnum

from attrs import frozen

from oci_registry.account.ranking import Ranked, as_image, ranked_after
from oci_registry.management.answers import StoredImage
from oci_registry.management.index import Index
from oci_registry.management.listing import describe
from oci_registry.management.pinned import Pinned
from oci_registry.streams.flight import SingleFlight

KEPT = 20
"""Images in each order."""
_STEP = 200
"""The number of manifests that one query reads, which takes some milliseconds."""
_FOR = 60.0
"""Seconds for which an answer is reused,"""
_SHARE = 100
"""or, if longer, this many times its computation time."""


class Rank(StrEnum):
    """The criteria that images are ranked by."""

    SIZE = "size"
    PULLS = "pulls"


@frozen
class FirstImages:
    """The first images of each order, sorted. *time*: when they were compared."""

    time: float
    images: dict[Rank, tuple[StoredImage, ...]]
    whole: bool


class Ranking:
    """Ranks all images, in steps; the answer is reused for a while.

    For 200,000 manifests that takes three seconds of CPU, in steps of some milliseconds.
    *pinned*: returns the pins. *now*: the time in seconds since the epoch.
    """

    def __init__(
        self, index: Index, pinned: Callable[[], Awaitable[Pinned]], now: Callable[[], float]
    ) -> None:
        self._index = index
        self._pinned = pinned
        self._now = now
        self._finding: SingleFlight[str, FirstImages] = SingleFlight()
        self._latest: FirstImages | None = None
        self._until = 0.0

    async def first(self) -> FirstImages:
        """Return the first images; raise `NotReady`, `StoreError`."""
        latest = self._latest
        if latest is not None and latest.time <= self._now() < self._until:
            return latest
        return await self._finding.run("find", self._find)

    async def _find(self) -> FirstImages:
        began = self._now()
        await self._index.flush()
        ranked = await self._compare()
        pinned = await self._pinned()
        images = {}
        for rank, best in ranked.items():
            listed = [await self._index.ask(as_image(one)) for one in best]
            found = [one for one in listed if one is not None]
            # One by one, since several manifests are read for each.
            images[rank] = tuple(
                [
                    (await self._index.ask(describe([one], pinned, counted=self._counted)))[0]
                    for one in found
                ]
            )
        ended = self._now()
        self._latest = FirstImages(ended, images, self._index.is_whole)
        # While the index is being built, each answer may be outdated soon.
        wait = max(_FOR, _SHARE * (ended - began)) if self._index.is_whole else _FOR
        self._until = ended + wait
        return self._latest

    async def _compare(self) -> dict[Rank, list[Ranked]]:
        best: dict[Rank, list[tuple[int, int, Ranked]]] = {rank: [] for rank in Rank}
        last: int | None = 0
        while last is not None:
            floors = (_floor(best[rank]) for rank in (Rank.SIZE, Rank.PULLS))
            rows, last = await self._index.ask(ranked_after(last, _STEP, *floors))
            for one in rows:
                for rank, value in ((Rank.SIZE, one.size), (Rank.PULLS, one.pulls)):
                    if value > _floor(best[rank]):
                        heapq.heappush(best[rank], (value, -one.number, one))
                        if len(best[rank]) > KEPT:
                            heapq.heappop(best[rank])
        return {
            rank: [one for *_, one in sorted(found, reverse=True)] for rank, found in best.items()
        }

    def _counted(self) -> bool:
        return self._index.counts_pulls


def _floor(best: list[tuple[int, int, Ranked]]) -> int:
    """Return the value that a further image must exceed."""
    return best[0][0] if len(best) == KEPT else 0
