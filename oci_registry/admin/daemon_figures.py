"""The figures of a running daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import isnan
from operator import add

from attrs import frozen

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.victims import Victim as FoundVictim
from oci_registry.activity.counts import Counts, read_counts
from oci_registry.activity.recorder import Recorder
from oci_registry.admin.figures_answers import (
    Activity,
    ActivityCounts,
    ActivityPoint,
    Disk,
    TopImages,
    Victim,
)
from oci_registry.events import Value
from oci_registry.eviction.limit import StoreLimit
from oci_registry.eviction.preview import Standing, next_victim, standing
from oci_registry.management.ranking import Rank, Ranking
from oci_registry.management.reasons import QUEUES
from oci_registry.management.subjects import name_of
from oci_registry.metrics import Metrics
from oci_registry.spec.reference import Tag
from oci_registry.storage.interfaces import IDriver, Space, StoreError
from oci_registry.storage.totals import StoredTotals
from oci_registry.streams.flight import SingleFlight

_FOR = 30.0
"""Seconds for which the next victim of the eviction is reused."""


@frozen
class FigureParts:
    """The sources of the figures.

    *account*, *limit*: None for a bucket without a limit. *load*: returns the number of downloads, and
    their rate in bytes per second; *sending*: returns how many responses are being sent.
    """

    now: Callable[[], float]
    metrics: Metrics
    recorder: Recorder
    account: Account | None
    limit: StoreLimit | None
    driver: IDriver
    totals: StoredTotals
    ranking: Ranking
    load: Callable[[], tuple[int, float]]
    sending: Callable[[], int]


class DaemonFigures:
    """The figures of a daemon."""

    def __init__(self, parts: FigureParts) -> None:
        self._parts = parts
        self._looking: SingleFlight[str, Victim | None] = SingleFlight()
        self._next: Victim | None = None
        self._looked: float | None = None

    async def activity(self, period: str) -> Activity:
        """Return the activity over a period."""
        recorder = self._parts.recorder
        parts = recorder.parts(period)
        totals = Counts().row()
        for part in parts:
            totals = tuple(map(add, totals, part.counts.row()))
        return Activity(
            period,
            self._parts.now(),
            float(parts[0].time),
            recorder.began,
            _answer(Counts(*totals)),
            tuple(ActivityPoint(p.time, p.seconds, _answer(p.counts)) for p in parts),
        )

    async def disk(self) -> Disk:
        """Return the disk usage of the store."""
        parts = self._parts
        space: Space | None = None
        with suppress(StoreError):
            space = await parts.driver.space()
        if parts.limit is None:
            size = None if isnan(parts.totals.size) else int(parts.totals.size)
            stands, reserved = Standing(size, None, None, None), 0
        else:
            stands, reserved = standing(parts.limit, space), parts.limit.use.reserved
        return Disk(
            parts.now(),
            stands.stored,
            stands.most,
            stands.low,
            reserved,
            None if space is None else space.size,
            None if space is None else space.free,
            stands.min_free,
            await self._victim(),
        )

    async def _victim(self) -> Victim | None:
        now = self._parts.now()
        if self._looked is None or not 0 <= now - self._looked < _FOR:
            self._next = await self._looking.run("look", self._look)
            self._looked = now
        return self._next

    async def _look(self) -> Victim | None:
        account, limit, found = self._parts.account, self._parts.limit, None
        if account is not None and limit is not None:
            with suppress(AccountOff, StoreError):
                found = await next_victim(account, limit)
        return None if found is None else _victim_answer(found)

    async def top(self, order: str, limit: int) -> TopImages:
        """Return the first images of an order."""
        first = await self._parts.ranking.first()
        return TopImages(order, first.time, first.images[Rank(order)][:limit], first.whole)

    def summary(self) -> Mapping[str, Value]:
        """Return the summary for followers of summaries."""
        parts = self._parts
        counts, totals = read_counts(parts.metrics), parts.totals
        transfers, rate = parts.load()
        return {
            "transfers": transfers,
            "rate": round(rate, 1),
            "connections": parts.metrics.connections(),
            "sending": parts.sending(),
            "objects": None if isnan(totals.objects) else int(totals.objects),
            "size": None if isnan(totals.size) else int(totals.size),
            "reserved": 0 if parts.limit is None else parts.limit.use.reserved,
            "requests": counts.requests,
            "errors": counts.errors,
            "hits": counts.hits,
            "misses": counts.misses,
            "bytes_sent": counts.sent,
            "bytes_fetched": counts.fetched,
            "images": counts.images,
        }


def _answer(counts: Counts) -> ActivityCounts:
    return ActivityCounts(
        requests=counts.requests,
        errors=counts.errors,
        hits=counts.hits,
        misses=counts.misses,
        bytes_sent=counts.sent,
        bytes_fetched=counts.fetched,
        bytes_saved=counts.saved,
        images=counts.images,
        images_cached=counts.images_cached,
        pulls_saved=counts.pulls_saved,
    )


def _victim_answer(found: FoundVictim) -> Victim:
    digest, kind, name, queue = str(found.digest), "blob", str(found.digest), None
    if found.host is not None:
        reference = found.digest if found.tag is None else Tag(found.tag)
        kind, name = "image", name_of(found.host, found.repository, reference)
        queue = None if found.queue is None else QUEUES[found.queue]
    return Victim(kind, name, digest, found.used, found.size, found.frees, queue)
