"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import MAX_NAMESPACES, Metrics


class Page(SynchronousTestCase):
    """The page of one daemon."""

    def setUp(self) -> None:
        self.metrics = Metrics(["docker.io"])

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        page = self.metrics.page().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))

    def test_names_that_people_know(self) -> None:
        """Hits and misses are counted by namespace, under names without a suffix."""
        for _ in range(2):
            self.metrics.hit("manifest", "docker.io")
        self.metrics.miss("manifest", "docker.io")
        self.metrics.hit("blob", "quay.io")
        self.metrics.miss("blob", "quay.io")
        for name, namespace, expected in (
            ("manifest_cache_hits", "docker.io", 2.0),
            ("manifest_cache_misses", "docker.io", 1.0),
            ("blob_cache_hits", "quay.io", 1.0),
            ("blob_cache_misses", "quay.io", 1.0),
        ):
            self.assertEqual(expected, self.value(name, namespace=namespace), name)
        self.assertNotIn(b"cache_hits_total", self.metrics.page())

    def test_responses(self) -> None:
        """Responses are counted by route, method and status, and timed by route."""
        for seconds in (0.004, 0.2):
            self.metrics.response("blob", "GET", "200", seconds)
        self.metrics.response("blob", "HEAD", "404", 0.3)
        got = self.value("oci_registry_requests_total", route="blob", method="GET", status="200")
        self.assertEqual(2, got)
        self.assertEqual(3, self.value("oci_registry_request_seconds_count", route="blob"))
        within = self.value("oci_registry_request_seconds_bucket", route="blob", le="0.005")
        self.assertEqual(1, within)

    def test_the_rest(self) -> None:
        """Bytes, transfers, connections, upstream questions, errors and sweeps are on the page."""
        metrics = self.metrics
        metrics.client_bytes.labels("blob").inc(5)
        metrics.upstream_bytes.labels("docker.io").inc(6)
        metrics.upstream_requests.labels("docker.io", "ok").inc()
        metrics.transfers.set(3)
        metrics.error("store")
        metrics.swept.labels("blob").inc()
        metrics.watch_connections(lambda: 7)
        for expected, name, labels in (
            (5, "oci_registry_client_bytes_total", {"route": "blob"}),
            (6, "oci_registry_upstream_bytes_total", {"namespace": "docker.io"}),
            (
                1,
                "oci_registry_upstream_requests_total",
                {"namespace": "docker.io", "outcome": "ok"},
            ),
            (3, "oci_registry_transfers_in_flight", {}),
            (1, "oci_registry_errors_total", {"kind": "store"}),
            (1, "oci_registry_swept_total", {"kind": "blob"}),
            (7, "oci_registry_client_connections", {}),
        ):
            self.assertEqual(expected, self.value(name, **labels), name)
        self.assertIsNotNone(self.value("process_resident_memory_bytes"))

    def test_namespaces_are_bounded(self) -> None:
        """Hosts that clients make up share a label once there are many; configured ones never do."""
        hosts = [f"h{n}.example.com" for n in range(MAX_NAMESPACES + 50)]
        for host in hosts:
            self.metrics.hit("blob", host)
        self.metrics.hit("blob", "docker.io")
        labels = [key for key in self.samples() if key[0] == "blob_cache_hits"]
        self.assertEqual(MAX_NAMESPACES + 2, len(labels))
        self.assertEqual(50, self.value("blob_cache_hits", namespace="other"))
        self.assertEqual(1, self.value("blob_cache_hits", namespace="docker.io"))
        self.assertEqual(hosts[0], self.metrics.namespace(hosts[0]))

    def test_stale(self) -> None:
        """Stale answers are counted by namespace, under a bounded label too."""
        for n in range(MAX_NAMESPACES):
            self.metrics.namespace(f"h{n}.example.com")
        for host in ("docker.io", "one.example.com", "two.example.com"):
            self.metrics.stale(host)
        for namespace, expected in (("docker.io", 1), ("other", 2), ("one.example.com", None)):
            got = self.value("oci_registry_stale_served_total", namespace=namespace)
            self.assertEqual(expected, got, namespace)

    def test_two_daemons(self) -> None:
        """Two daemons in a process count for themselves."""
        self.metrics.hit("blob", "docker.io")
        self.metrics = Metrics()
        self.assertIsNone(self.value("blob_cache_hits", namespace="docker.io"))
