"""What is recorded of the metrics."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.activity.counts import COLUMNS, Counts, grown, read_counts
from oci_registry.metrics import Metrics


class Read(SynchronousTestCase):
    """Numbers of the metrics."""

    def test_read(self) -> None:
        """They are taken from what is counted anyway, over all registries."""
        metrics = Metrics()
        for route, method, status in (
            ("manifest/image/limited", "GET", "200"), ("manifest/image", "GET", "200"),
            ("manifest/limited", "GET", "200"), ("manifest/image/limited", "HEAD", "200"),
            ("manifest/image", "GET", "304"), ("manifest", "GET", "502"), ("blob", "GET", "206"),
            ("blob", "GET", "gone"), ("blob", "other", "405"), ("tags", "GET", "200"),
            ("admin", "GET", "500"), ("none", "GET", "500"),
        ):  # fmt: skip
            metrics.response(route, method, status, 0.0)
        for host in ("docker.io", "example.com"):
            metrics.hit("manifest", host)
            metrics.hit("blob", host)
            metrics.miss("blob", host)
            metrics.upstream_bytes.labels(host).inc(10)
        metrics.client_bytes.labels("blob").inc(70)
        metrics.pulls.images_fetched, metrics.pulls.manifests_fetched = 1, 3
        expected = Counts(requests=8, errors=1, hits=4, misses=2, sent=70, fetched=20, images=2,
                          images_fetched=1, limited=2, limited_fetched=3)  # fmt: skip
        self.assertEqual(expected, read_counts(metrics))

    def test_nothing(self) -> None:
        """At the start there is nothing."""
        self.assertEqual(Counts(), read_counts(Metrics()))
        self.assertEqual(len(COLUMNS), len(Counts().row()))

    def test_grown(self) -> None:
        """Numbers grow, or stay."""
        self.assertEqual((2, 0, 0), grown((1, 5, 7), (3, 5, 2)))
