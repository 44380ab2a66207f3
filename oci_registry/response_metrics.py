"""Counts and durations of responses, in plain numbers, which is cheap.

Counting one with prometheus-client takes as long as everything else about a ready answer.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from attrs import Factory, define
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from oci_registry.exposition import number

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Upper bounds of the buckets, in seconds."""
Key = tuple[str, str, str]
"""Route, method and status. The part of the route after a slash is counted separately, but not exported."""


def exported(route: str) -> str:
    """Return the exported form of a route."""
    return route.partition("/")[0]


def _no_buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@define
class _Seconds:
    """The durations of a route's responses; those that took no time are only in `ResponseCounts`."""

    count: int = 0
    total: float = 0.0
    buckets: list[int] = Factory(_no_buckets)


class ResponseCounts(Collector):
    """Responses by route, method and status. On the reactor only."""

    def __init__(self) -> None:
        self.counted: dict[Key, int] = {}
        self._began: dict[Key, float] = {}

    def add(self, key: Key) -> None:
        """Count a response."""
        try:
            self.counted[key] += 1
        except KeyError:
            self.counted[key] = 1
            self._began[key] = time.time()

    def began(self, route: str) -> float:
        """Return when the first response of a route was counted."""
        return min(began for (other, *_), began in self._began.items() if exported(other) == route)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "oci_registry_requests", "Requests answered", labels=("route", "method", "status")
        )
        counts: dict[Key, int] = {}
        began: dict[Key, float] = {}
        for (route, method, status), count in self.counted.items():
            key = exported(route), method, status
            counts[key] = counts.get(key, 0) + count
            first = self._began[route, method, status]
            began[key] = min(first, began.get(key, first))
        for key, count in counts.items():
            family.add_metric(key, count, created=began[key])
        yield family


class ResponseSeconds(Collector):
    """The durations of responses by route: those of *counts*, with 0 seconds unless `add` gave another."""

    def __init__(self, counts: ResponseCounts) -> None:
        self._counts = counts
        self._taken: dict[str, _Seconds] = {}

    def add(self, route: str, seconds: float) -> None:
        """Record the duration of a response that was counted."""
        taken = self._taken.setdefault(exported(route), _Seconds())
        taken.count += 1
        taken.total += seconds
        taken.buckets[bisect_left(BOUNDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "oci_registry_request_seconds",
            "Seconds from a request to the end of its response",
            labels=("route",),
        )
        counts: dict[str, int] = {}
        for (route, *_), count in self._counts.counted.items():
            name = exported(route)
            counts[name] = counts.get(name, 0) + count
        for route, count in counts.items():
            taken = self._taken.get(route, _Seconds())
            family.add_metric(
                (route,), list(_cumulated(taken.buckets, count - taken.count)), taken.total
            )
            created = self._counts.began(route)
            family.add_sample(f"{family.name}_created", {"route": route}, created)
        yield family


def _cumulated(buckets: Iterable[int], at_once: int) -> Iterator[tuple[str, float]]:
    """Return the name of each bucket, and the cumulative number of responses."""
    bounds = (*BOUNDS, float("inf"))
    for bound, count in zip(bounds, accumulate(buckets), strict=True):
        yield number(bound), at_once + count
