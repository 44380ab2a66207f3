"""The metrics for Prometheus: one object that is passed to everything that counts.

Names are documented in ``docs/reference/metrics.md``. Every label has a bounded number of values: source
hosts that are not configured share the label ``other`` once there are too many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from math import nan

from prometheus_client.gc_collector import GC_COLLECTOR
from prometheus_client.metrics import Counter, Gauge
from prometheus_client.platform_collector import PLATFORM_COLLECTOR
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from oci_registry import exposition
from oci_registry.host_gauges import HostGauge
from oci_registry.plain_counters import PlainCounters
from oci_registry.pull_counts import PullCounts
from oci_registry.response_metrics import Key, ResponseCounts, ResponseSeconds
from oci_registry.worker_metrics import WorkerUsage

MAX_NAMESPACES = 100
"""Values of the label ``namespace`` beside the configured ones."""
ERRORS = ("account", "eviction", "reload", "scrub", "stale", "store", "sweep", "transfer", "wrong")
"""Kinds of errors."""
SCRUBBED = ("blob", "manifest", "referrers", "tag")
"""Kinds of objects that a scrub checks."""


class HostMetrics:
    """The metrics of one host of an upstream. *host*: None if it has no label of its own.

    If several have the same labels, the last one made is exported, until it is retired: an upstream may
    replace another one that is still in use.
    """

    def __init__(self, metrics: Metrics, namespace: str, host: str | None) -> None:
        self._metrics = metrics
        self._labels = (namespace, host or "")
        self._namespace = namespace
        self._values: dict[HostGauge, float] = {}
        self._same = [] if host is None else metrics.same_host(namespace, host)
        if host is not None:
            self._same.append(self)

    def answered(self, outcome: str) -> None:
        """Count an API request; *outcome* is ok, or the status of the failure."""
        self._metrics.upstream_requests.labels(self._namespace, outcome).inc()

    def resumed(self) -> None:
        """Count a body that broke off and is resumed."""
        self._metrics.upstream_resumes.labels(self._namespace).inc()

    def credentials_refused(self, times: int = 1) -> None:
        """Count a refusal of the credentials by the host or its token server."""
        self._metrics.upstream_credentials_refused.labels(self._namespace).inc(times)

    def available(self, yes: bool) -> None:
        """Set whether the host is available: no circuit breaker is open."""
        self._set(self._metrics.host_available, int(yes))

    def paused(self, until: float) -> None:
        """Set the end of a rate limited host's pause, in seconds since the epoch."""
        self._set(self._metrics.host_paused_until, until)
        self._set(self._metrics.host_held_until, until)

    def waiting(self, count: int) -> None:
        """Set the number of requests that wait for the host."""
        self._set(self._metrics.host_waiting, count)

    def budget(self, limit: int | None, remaining: int) -> None:
        """Set the rate limit of the host, and the number of requests that are left."""
        self._metrics.pulls.counts_pulls(self._namespace)
        if limit is not None:
            self._set(self._metrics.host_limit, limit)
        self._set(self._metrics.host_remaining, remaining)

    def retire(self) -> None:
        """Stop exporting the metrics of the host, which is not used any more. Idempotent."""
        if self not in self._same:
            return
        self._same.remove(self)
        others = self._same[-1]._values if self._same else {}
        for gauge in self._values:
            if gauge not in others:
                gauge.remove(self._labels)
        for gauge, value in others.items():
            gauge.set(self._labels, value)

    def _set(self, gauge: HostGauge, value: float) -> None:
        self._values[gauge] = value
        if self._same and self._same[-1] is self:
            gauge.set(self._labels, value)


class Metrics:
    """All metrics of one daemon, in a registry of their own."""

    connections: Callable[[], int]
    """The number of open client connections; set by `watch_connections`."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._configured = frozenset(configured)
        self._others: set[str] = set()
        self._hosts: dict[tuple[str, str], list[HostMetrics]] = {}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        for collector in (PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self._plain = PlainCounters(
            {
                "manifest_cache_hits": "Manifests served from the store",
                "manifest_cache_misses": "Manifests fetched from upstream",
                "blob_cache_hits": "Blobs served from the store",
                "blob_cache_misses": "Blobs served while they came from upstream",
            }
        )
        self.registry.register(self._plain)
        self.pulls = PullCounts()
        """Counts of pulls that are not exported."""
        self._responses = ResponseCounts()
        self._seconds = ResponseSeconds(self._responses)
        self.registry.register(self._responses)
        self.registry.register(self._seconds)
        self.client_bytes = self._counter(
            "client_bytes", "Bytes of bodies sent to clients", "route"
        )
        self.upstream_bytes = self._counter(
            "upstream_bytes", "Bytes of blobs received from upstream", "namespace"
        )
        self.upstream_requests = self._counter(
            "upstream_requests", "API requests to upstream, by outcome", "namespace", "outcome"
        )
        self.upstream_resumes = self._counter(
            "upstream_resumes", "Bodies from upstream that broke off and were resumed", "namespace"
        )
        self.upstream_credentials_refused = self._counter(
            "upstream_credentials_refused",
            "API requests to upstream that failed because credentials were refused",
            "namespace",
        )
        self.host_available = self._of_hosts(
            "available", "0 while a circuit breaker of the host is open, else 1"
        )
        self.host_paused_until = self._of_hosts(
            "paused_until_seconds",
            "End of the pause of a rate limited host (Retry-After), in seconds since the epoch",
        )
        # The previous name, for dashboards and alerts that still use it.
        self.host_held_until = self._of_hosts(
            "held_until_seconds", "Deprecated: use oci_registry_upstream_paused_until_seconds"
        )
        self.host_waiting = self._of_hosts("waiting_requests", "Requests that wait for a host")
        self.host_limit = self._of_hosts("ratelimit_limit", "Rate limit of a host, in requests")
        self.host_remaining = self._of_hosts(
            "ratelimit_remaining", "Requests left of the rate limit of a host"
        )
        self.transfers = self._gauge("transfers_in_flight", "Blobs being downloaded from upstream")
        self.prefetches = self._counter(
            "prefetches",
            "Blobs and manifests to be fetched before clients ask",
            "namespace",
            "outcome",
        )
        self.far_ranges = self._counter(
            "far_ranges", "Ranges far ahead of a download that were fetched separately"
        )
        self.far_ranges_in_flight = self._gauge(
            "far_ranges_in_flight", "Ranges far ahead of a download that are being fetched"
        )
        self.errors = self._counter("errors", "Errors, by kind", "kind")
        for kind in ERRORS:
            # Prometheus sees the first one as an increase only if the counter was 0 before.
            self.errors.labels(kind)
        self.stale_served = self._counter(
            "stale_served", "Manifests served by tag that upstream did not revalidate", "namespace"
        )
        self.tag_moves = self._counter(
            "tag_moves",
            "Revalidations that found a new digest of a tag: adopted, or waiting for its minimum age",
            "namespace",
            "result",
        )
        self.held_tags = self._gauge("held_tags", "Tags that are held at a digest")
        self.store_failing = self._gauge(
            "store_failing", "1 while the store cannot be read, or written", "doing"
        )
        self.store_readable = self._of_store("readable", "1 if the store can be read, else 0", 1)
        self.store_writable = self._of_store("writable", "1 if the store can be written, else 0", 1)
        self.store_objects = self._of_store("objects", "Blobs and manifests in the store")
        self.store_bytes = self._of_store("bytes", "Bytes of blobs and manifests in the store")
        self.store_free_bytes = self._of_store(
            "free_bytes", "Free bytes on the volume of the store"
        )
        self.store_size_bytes = self._of_store(
            "size_bytes", "Size of the volume of the store, in bytes"
        )
        self.workers = self._gauge("workers", "Worker processes that accept connections")
        self.worker_restarts = self._counter("worker_restarts", "Worker processes that ended")
        self.worker_usage = WorkerUsage(self.registry)
        self.account_complete = self._gauge(
            "account_complete", "1 while the account has everything that is stored, else 0"
        )
        self._make_eviction()
        self._make_scrub()

    def _make_eviction(self) -> None:
        self.swept = self._counter("swept", "Unused objects removed by the sweep", "kind")
        self.evicted = self._counter("evicted", "Objects evicted to stay within the limits", "kind")
        self.evicted_bytes = self._counter(
            "evicted_bytes", "Bytes of blobs evicted to stay within the limits"
        )
        self.not_stored = self._counter(
            "not_stored", "Blobs served without being stored, because of the limits", "reason"
        )
        self.store_limit_bytes = self._of_store("limit_bytes", "Bytes that the store may take")
        self.store_reserved_bytes = self._of_store(
            "reserved_bytes", "Bytes reserved for blobs that are being downloaded", 0
        )
        self.upstream_store_bytes = self._gauge(
            "upstream_store_bytes", "Bytes of the images of an upstream with a limit", "namespace"
        )
        self.upstream_limit_bytes = self._gauge(
            "upstream_limit_bytes", "Bytes that the images of an upstream may take", "namespace"
        )

    def _make_scrub(self) -> None:
        self.scrub_running = self._gauge("scrub_running", "1 while a scrub of the store is running")
        self.scrub_ended = self._gauge(
            "scrub_ended_seconds", "End of the last whole scrub, in seconds since the epoch"
        )
        self.scrub_ended.set(nan)
        self.scrub_checked = self._counter("scrub_checked", "Objects checked by scrubs", "kind")
        self.scrub_checked_bytes = self._counter(
            "scrub_checked_bytes", "Bytes of objects checked by scrubs"
        )
        self.scrub_corrupt = self._counter("scrub_corrupt", "Corrupt objects in the store", "kind")
        self.scrub_restored = self._counter(
            "scrub_restored", "Corrupt objects that were stored again", "kind"
        )
        for kind in SCRUBBED:
            self.scrub_corrupt.labels(kind)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"oci_registry_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"oci_registry_{name}", text, labels, registry=self.registry)

    def _of_hosts(self, name: str, text: str) -> HostGauge:
        gauge = HostGauge(f"oci_registry_upstream_{name}", text)
        self.registry.register(gauge)
        return gauge

    def _of_store(self, name: str, text: str, value: float = nan) -> Gauge:
        """Make a gauge of the store. It is NaN while the value is unknown, which no alert matches."""
        gauge = self._gauge(f"store_{name}", text)
        gauge.set(value)
        return gauge

    def host(self, namespace: str, host: str) -> HostMetrics:
        """Return the metrics of a host; only hosts of configured upstreams have their own label."""
        known = namespace in self._configured
        return HostMetrics(self, self.namespace(namespace), host if known else None)

    def same_host(self, namespace: str, host: str) -> list[HostMetrics]:
        """Return the existing metrics of a host, to be shared."""
        return self._hosts.setdefault((namespace, host), [])

    @property
    def configured(self) -> frozenset[str]:
        """The source hosts that have a label of their own, however many there are."""
        return self._configured

    def configure(self, namespaces: Iterable[str]) -> None:
        """Replace the configured source hosts."""
        self._configured = frozenset(namespaces)

    def forget_upstream_size(self, namespace: str) -> None:
        """Remove the metrics of an upstream that has no limit any more."""
        for gauge in (self.upstream_store_bytes, self.upstream_limit_bytes):
            # The first one exists only after a measurement.
            with suppress(KeyError):
                gauge.remove(namespace)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Export the number of client connections that *count* returns."""
        gauge = Gauge(
            "oci_registry_client_connections", "Open client connections", registry=self.registry
        )
        gauge.set_function(count)
        self.connections = count

    def watch_holds(self, count: Callable[[], float]) -> None:
        """Export the number of tags that are held, which *count* returns."""
        self.held_tags.set_function(count)

    def watch_totals(self, objects: Callable[[], float], size: Callable[[], float]) -> None:
        """Export the number of stored objects and their bytes, as the functions return them."""
        self.store_objects.set_function(objects)
        self.store_bytes.set_function(size)

    def namespace(self, host: str) -> str:
        """Return the label for a source host."""
        if host in self._configured or host in self._others:
            return host
        if len(self._others) < MAX_NAMESPACES:
            self._others.add(host)
            return host
        return "other"

    def hit(self, kind: str, host: str) -> None:
        """Count a manifest or a blob (*kind*) that was served from the store."""
        self._plain.increment(f"{kind}_cache_hits", self.namespace(host))

    def hits(self, kind: str, host: str) -> Callable[[], None]:
        """Return `hit` for a kind and a host that stay the same; valid until `configure` is called."""
        return self._plain.counter(f"{kind}_cache_hits", self.namespace(host))

    def miss(self, kind: str, host: str) -> None:
        """Count a manifest or a blob that had to be fetched from upstream."""
        self._plain.increment(f"{kind}_cache_misses", self.namespace(host))

    def stale(self, host: str) -> None:
        """Count a manifest served for a tag that upstream did not revalidate."""
        self.stale_served.labels(self.namespace(host)).inc()

    def tag_move(self, host: str, result: str) -> None:
        """Count a new digest of a tag; *result*: adopted or waiting."""
        self.tag_moves.labels(self.namespace(host), result).inc()

    def response(self, route: str, method: str, status: str, seconds: float) -> None:
        """Count the response to a request."""
        self._responses.add((route, method, status))
        if seconds:
            self._seconds.add(route, seconds)

    @property
    def responses(self) -> Mapping[Key, int]:
        """How many requests were answered, by route, method and status."""
        return self._responses.counted

    def hits_and_misses(self) -> tuple[int, int]:
        """Return how many manifests and blobs were served from the store, and how many were not."""
        return self._plain.total("_hits"), self._plain.total("_misses")

    def prefetched(self, host: str, outcome: str) -> None:
        """Count an object of the prefetch; *outcome* is one of the words in the reference."""
        self.prefetches.labels(self.namespace(host), outcome).inc()

    def error(self, kind: str) -> None:
        """Count an error; *kind* is one of the words in the reference."""
        self.errors.labels(kind).inc()

    def page(self) -> bytes:
        """Return all metrics in the exposition format 0.0.4."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Return the page in pieces, each of which takes about a millisecond to make.

        With hundreds of upstreams the whole takes 100 ms.
        """
        before = None
        for metric in self.registry.collect():
            more = metric.name == before
            yield from exposition.pieces(metric, self._plain.names, more=more)
            before = metric.name
