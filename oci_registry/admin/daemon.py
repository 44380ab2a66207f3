"""The API's handlers for the daemon itself: status, downloads, upstreams, the sweep, errors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping
from math import isnan
from weakref import WeakKeyDictionary

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime

from oci_registry import __version__
from oci_registry.admin.answers import (
    BreakerStatus,
    DaemonStatus,
    ErrorList,
    ErrorStatus,
    EventRecord,
    HostStatus,
    PauseStatus,
    RunningTransfer,
    SweepStatus,
    Top,
    UpstreamPage,
    UpstreamStatus,
)
from oci_registry.admin.fields import Values
from oci_registry.events import Event, EventLog
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.pullthrough.transfer import Transfer
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.table import UpstreamTable

MOST_TRANSFERS = 500
"""The maximum number of downloads that are listed."""
_SAMPLED = 1.0
"""Seconds between two samples of a download by which its rate is measured."""


@define
class _Sample:
    """The bytes that a download had received at some time, and its rate up to then."""

    time: float
    received: int
    rate: float


class Rates:
    """The rates of downloads in bytes per second, from samples."""

    def __init__(self) -> None:
        self._samples: WeakKeyDictionary[Transfer, _Sample] = WeakKeyDictionary()

    def of(self, transfer: Transfer, received: int, now: float) -> float:
        """Return the rate since the last sample, or since the beginning."""
        sample = self._samples.get(transfer)
        if sample is None or received < sample.received or now < sample.time:
            rate = received / max(now - transfer.began, _SAMPLED)
            self._samples[transfer] = _Sample(now, received, rate)
            return rate
        passed = now - sample.time
        if passed >= _SAMPLED:
            rate = (received - sample.received) / passed
            self._samples[transfer] = _Sample(now, received, rate)
            return rate
        return sample.rate


@frozen
class DaemonParts:
    """The parts of a daemon that the API reports on. *store*: a description of the store."""

    clock: IReactorTime
    metrics: Metrics
    transfers: Transfers
    table: UpstreamTable
    sweep: PeriodicSweep
    events: EventLog
    store: str
    workers: int
    check: Callable[[], Awaitable[StoreState]]


class DaemonHandlers:
    """Answers questions about a daemon."""

    def __init__(self, parts: DaemonParts) -> None:
        self._parts = parts
        self._rates = Rates()

    async def status(self, values: Values) -> DaemonStatus:
        """Return the state of the daemon and its store."""
        parts, metrics = self._parts, self._parts.metrics
        state = await parts.check()
        return DaemonStatus(
            version=__version__,
            started=parts.events.began,
            time=parts.clock.seconds(),
            ready=state.unreadable is None,
            unreadable=state.unreadable,
            unwritable=state.unwritable,
            store=parts.store,
            objects=_whole(metrics.store_objects),
            size=_whole(metrics.store_bytes),
            limit=_whole(metrics.store_limit_bytes),
            free=_whole(metrics.store_free_bytes),
            connections=metrics.connections(),
            workers=parts.workers,
        )

    def load(self) -> tuple[int, float]:
        """Return the number of downloads, and their total rate in bytes per second."""
        now = self._parts.clock.seconds()
        running = list(self._parts.transfers)
        return len(running), sum(self._rates.of(each, _received(each), now) for each in running)

    async def top(self, values: Values) -> Top:
        """Return the running downloads."""
        now = self._parts.clock.seconds()
        running = sorted(self._parts.transfers, key=lambda transfer: transfer.began)
        found = [self._transfer(transfer, now) for transfer in running]
        return Top(
            time=now,
            count=len(found),
            rate=sum(each.rate for each in found),
            transfers=tuple(found[:MOST_TRANSFERS]),
        )

    def _transfer(self, transfer: Transfer, now: float) -> RunningTransfer:
        wanted, blob = transfer.wanted, transfer.blob
        received = _received(transfer)
        return RunningTransfer(
            digest=str(wanted.digest),
            upstream=wanted.target.upstream.namespace,
            repository=wanted.target.repository,
            phase=transfer.phase.value,
            received=received,
            size=wanted.hint if blob is None or blob.size is None else blob.size,
            rate=round(self._rates.of(transfer, received, now), 1),
            readers=0 if blob is None else blob.followers,
            clients=transfer.clients,
            stored=wanted.stored,
            seconds=round(max(now - transfer.began, 0.0), 3),
        )

    async def upstreams(self, values: Values) -> UpstreamPage:
        """Return a page of the upstreams, by name."""
        upstreams = {each.namespace: each for each in self._parts.table.upstreams}
        names = sorted(upstreams)
        start = 0 if values["after"] is None else bisect_right(names, values["after"])
        page = names[start : start + values["limit"]]
        more = start + len(page) < len(names)
        return UpstreamPage(
            tuple(upstream_status(upstreams[name]) for name in page), page[-1] if more else None
        )

    async def sweep(self, values: Values) -> SweepStatus:
        """Return the state of the sweeps."""
        status = self._parts.sweep.status
        return SweepStatus(
            status.interval, status.running, status.began, status.seconds, status.error
        )

    async def start_sweep(self, values: Values) -> SweepStatus:
        """Start a sweep, unless one is running."""
        self._parts.sweep.run()
        return await self.sweep(values)

    async def errors(self, values: Values) -> ErrorList:
        """Return the latest errors."""
        latest = self._parts.events.errors[-values["limit"] :]
        return ErrorList(tuple(event_record(event) for event in latest))


def _received(transfer: Transfer) -> int:
    return 0 if transfer.blob is None else transfer.blob.received


def event_record(event: Event) -> EventRecord:
    """Return an event for the API."""
    return EventRecord(event.number, event.time, event.kind, dict(event.fields))


def upstream_status(upstream: Upstream) -> UpstreamStatus:
    """Return the state of an upstream."""
    return UpstreamStatus(
        upstream.namespace,
        upstream.settings.configured,
        upstream.settings.offline,
        tuple(_host_status(host) for host in upstream.health()),
    )


def upstream_of(table: UpstreamTable, name: str) -> Mapping[str, object] | None:
    """Return the state of the upstream of a registry, None if there is none yet."""
    upstream = table.known(name)
    return None if upstream is None else upstream_status(upstream).to_json()


def _host_status(host: HostHealth) -> HostStatus:
    error = host.last_error
    return HostStatus(
        name=host.name,
        used=host.used,
        available=host.available,
        breakers=tuple(
            BreakerStatus(each.what, each.state, each.reason, each.open_for, each.probe_in)
            for each in host.breakers
        ),
        paused=tuple(PauseStatus(each.what, each.seconds) for each in host.paused),
        limit=host.limit,
        remaining=host.remaining,
        low=host.low,
        waiting=host.waiting,
        connections=host.connections,
        last_error=None if error is None else ErrorStatus(error.time, error.text),
    )


def _whole(gauge: object) -> int | None:
    """Return the value of a gauge in bytes or objects; None if it is not known."""
    (metric,) = gauge.collect()  # type: ignore[attr-defined]
    value = metric.samples[0].value
    return None if isnan(value) else int(value)
