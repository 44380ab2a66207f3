"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.exposition import SAMPLES_AT_ONCE
from oci_registry.metrics import MAX_NAMESPACES, Metrics

PLAIN = ("manifest_cache_hits", "manifest_cache_misses", "blob_cache_hits", "blob_cache_misses")


class PageTestCase(SynchronousTestCase):
    """The page of one daemon."""

    def setUp(self) -> None:
        self.metrics = Metrics(["docker.io"])

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        page = self.metrics.page().decode()
        # The parser has names of counters as OpenMetrics does, whatever they are called on the page.
        ends = dict.fromkeys(PLAIN, "_total")
        return {
            (
                sample.name.removesuffix(ends.get(family.name, "")),
                tuple(sorted(sample.labels.items())),
            ): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))


class Page(PageTestCase):
    """What is on it."""

    def test_pieces(self) -> None:
        """It is made in pieces of few lines, and is what prometheus-client would write."""
        for number in range(3 * SAMPLES_AT_ONCE + 1):
            self.metrics.response("blob", "GET", str(number), 0.01)
        self.metrics.response('a "b" \\n\n\\', "GET", "200", 1e9)
        self.metrics.hit("blob", "docker.io")
        pieces = list(self.metrics.pieces())
        self.assertLess(max(piece.count(b"\n") for piece in pieces), SAMPLES_AT_ONCE + 10)
        whole = generate_latest(self.metrics.registry)
        for name in PLAIN:
            untyped = f"# TYPE {name} untyped".encode()
            self.assertIn(untyped, whole)
            whole = whole.replace(untyped, f"# TYPE {name} counter".encode())
        # But for what changes from one moment to the next.
        changing = (b"process_", b"python_gc")
        one, other = (
            [line for line in page.splitlines() if not line.startswith(changing)]
            for page in (whole, b"".join(pieces))
        )
        self.assertEqual(one, other)

    def test_hosts(self) -> None:
        """Hundreds of hosts are collected a few at a time, as one metric with one description."""
        count = 3 * SAMPLES_AT_ONCE + 1
        metrics = Metrics(f"r{number}.example" for number in range(count))
        for number in range(count):
            metrics.host(f"r{number}.example", "m.example").available(True)
        name = "oci_registry_upstream_available"
        parts = [one for one in metrics.registry.collect() if one.name == name]
        self.assertEqual(
            [SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, 1],
            [len(part.samples) for part in parts],
        )
        lines = [line for line in metrics.page().decode().splitlines() if name in line]
        self.assertEqual(
            ["# HELP", "# TYPE"], [line.partition(f" {name}")[0] for line in lines[:2]]
        )
        wanted = [
            f'{name}{{host="m.example",namespace="r{number}.example"}} 1.0'
            for number in range(count)
        ]
        self.assertEqual(wanted, lines[2:])

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

    def test_they_are_counters(self) -> None:
        """These are counters, under their old names, to whatever reads the page."""
        for kind in ("manifest", "blob"):
            self.metrics.hit(kind, "docker.io")
            self.metrics.miss(kind, "docker.io")
        page = self.metrics.page().decode()
        families = {family.name: family for family in text_string_to_metric_families(page)}
        for name in PLAIN:
            self.assertEqual("counter", families[name].type)
            self.assertEqual([1.0], [sample.value for sample in families[name].samples])
            self.assertIn(f'# TYPE {name} counter\n{name}{{namespace="docker.io"}} 1.0\n', page)
        self.assertNotIn("untyped", page)

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


class Hosts(PageTestCase):
    """What is counted of hosts, when other upstreams are configured."""

    def host_value(self, name: str, host: str = "a.example") -> float | None:
        return self.value(f"oci_registry_upstream_{name}", namespace="docker.io", host=host)

    def test_retired(self) -> None:
        """A host that is not asked any more is on the page no more, whatever is still under way."""
        first = self.metrics.host("docker.io", "a.example")
        other = self.metrics.host("docker.io", "b.example")
        first.available(True)
        first.budget(100, 70)
        other.available(True)
        first.retire()
        first.available(False)
        first.answered("ok")
        first.retire()
        self.assertIsNone(self.host_value("available"))
        self.assertIsNone(self.host_value("ratelimit_remaining"))
        self.assertEqual(1, self.host_value("available", "b.example"))
        requests = "oci_registry_upstream_requests_total"
        self.assertEqual(1, self.value(requests, namespace="docker.io", outcome="ok"))

    def test_replaced(self) -> None:
        """The same host of a changed upstream has the series, though the old one is still in use."""
        old = self.metrics.host("docker.io", "a.example")
        old.available(False)
        old.budget(100, 70)
        new = self.metrics.host("docker.io", "a.example")
        new.available(True)
        old.retire()
        old.available(False)
        old.waiting(3)
        self.assertEqual(1, self.host_value("available"))
        self.assertIsNone(self.host_value("ratelimit_remaining"))
        self.assertIsNone(self.host_value("waiting_requests"))

    def test_not_replaced_after_all(self) -> None:
        """If the new one is given up, the series are those of the old one again."""
        old = self.metrics.host("docker.io", "a.example")
        old.available(False)
        new = self.metrics.host("docker.io", "a.example")
        new.available(True)
        new.waiting(1)
        old.paused(5.0)
        new.retire()
        self.assertEqual(0, self.host_value("available"))
        for name in ("paused_until_seconds", "held_until_seconds"):
            self.assertEqual(5, self.host_value(name))
        self.assertIsNone(self.host_value("waiting_requests"))

    def test_without_a_label(self) -> None:
        """A host of an upstream that clients named has no series, and can be retired nevertheless."""
        host = self.metrics.host("other.example", "other.example")
        host.available(True)
        host.retire()
        self.assertNotIn("other.example", self.metrics.page().decode())

    def test_configured_later(self) -> None:
        """Which namespaces are configured can change, and with it who has a label for certain."""
        for n in range(MAX_NAMESPACES + 5):
            self.metrics.namespace(f"h{n}.example.com")
        self.assertEqual("other", self.metrics.namespace("late.example"))
        self.metrics.configure(["late.example", "h0.example.com"])
        self.assertEqual("late.example", self.metrics.namespace("late.example"))
        self.metrics.host("late.example", "late.example").available(True)
        labels = {"namespace": "late.example", "host": "late.example"}
        self.assertEqual(1, self.value("oci_registry_upstream_available", **labels))
        self.assertEqual("other", self.metrics.namespace("docker.io"))
        self.metrics.configure(["docker.io"])
        self.assertEqual("other", self.metrics.namespace("late.example"))
        self.assertEqual("h0.example.com", self.metrics.namespace("h0.example.com"))
