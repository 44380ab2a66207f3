"""Numbers of responses, and how long they took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.samples import Sample
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.response_metrics import BOUNDS, ResponseCounts, ResponseSeconds, exported

RESPONSES = st.lists(
    st.tuples(
        st.sampled_from(("blob", "manifest", "manifest/image")),
        st.sampled_from(("GET", "HEAD")),
        st.sampled_from(("200", "404")),
        st.sampled_from((0.0, 0.0, 0.001, 0.0011, 0.3, 120.0, 1e6)),
    ),
    max_size=30,
)


class Same(SynchronousTestCase):
    """They are those that prometheus-client would count."""

    @given(RESPONSES)
    def test_same(self, responses: list[tuple[str, str, str, float]]) -> None:
        """Whatever is counted, all samples are the same, but for the times when they began."""
        counts = ResponseCounts()
        seconds = ResponseSeconds(counts)
        registry = CollectorRegistry()
        counter = Counter(
            "oci_registry_requests",
            "Requests answered",
            ("route", "method", "status"),
            registry=registry,
        )
        histogram = Histogram(
            "oci_registry_request_seconds",
            "Seconds from a request to the end of its response",
            ("route",),
            buckets=BOUNDS,
            registry=registry,
        )
        for *key, taken in responses:
            route, method, status = key
            counts.add((route, method, status))
            if taken:
                seconds.add(route, taken)
            # Kinds of a route are not exported.
            counter.labels(exported(route), method, status).inc()
            histogram.labels(exported(route)).observe(taken)
        for ours, theirs in ((counts, counter), (seconds, histogram)):
            (one,), (other,) = ours.collect(), theirs.collect()
            self.assertEqual(
                (other.name, other.documentation, other.type),
                (one.name, one.documentation, one.type),
            )
            self.assertEqual(
                [self._timeless(sample) for sample in other.samples],
                [self._timeless(sample) for sample in one.samples],
            )

    def _timeless(self, sample: Sample) -> tuple[object, ...]:
        value = None if sample.name.endswith("_created") else sample.value
        return sample.name, sample.labels, value

    def test_began(self) -> None:
        """A series begins with its first response."""
        counts = ResponseCounts()
        counts.add(("blob", "GET", "200"))
        (before,) = [
            s.value for m in counts.collect() for s in m.samples if s.name.endswith("_created")
        ]
        counts.add(("blob", "GET", "200"))
        (after,) = [
            s.value for m in counts.collect() for s in m.samples if s.name.endswith("_created")
        ]
        self.assertEqual(before, after)
        self.assertLess(1.6e9, after)
