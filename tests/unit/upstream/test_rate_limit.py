"""What a host says of its budget is read, exported, and noticed when it runs low."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.upstream.rate_limit import DEFAULT_WINDOW, Quantity, RateLimit, parse_quantity
from tests.support.fake_http import FakeResponse, as_response


class Quantities(SynchronousTestCase):
    """parse_quantity."""

    def test_forms(self) -> None:
        """A number, with a window or without; anything else is nothing."""
        for text, expected in (
            ("100;w=21600", Quantity(100, 21600.0)),
            (" 76 ; comment; w = 60", Quantity(76, 60.0)),
            ("5000", Quantity(5000, None)),
            ("5000;q", Quantity(5000, None)),
            ("", None),
            (None, None),
            ("-1", None),
            ("many", None),
            ("1" * 16, None),
            ("1;" + "x" * 200, None),
        ):
            self.assertEqual(expected, parse_quantity(text), text)

    @given(st.text(max_size=250))
    def test_anything(self, text: str) -> None:
        """Any text is read or ignored."""
        quantity = parse_quantity(text)
        if quantity is not None:
            self.assertGreaterEqual(quantity.count, 0)


class Budgets(SynchronousTestCase):
    """RateLimit."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.metrics = Metrics(["docker.io"])
        self.limit = RateLimit(self.clock, self.metrics.host("docker.io", "a.example"))

    def note(self, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.limit.note(as_response(FakeResponse(headers=named)))

    def gauge(self, name: str) -> float | None:
        labels = {"namespace": "docker.io", "host": "a.example"}
        name = f"oci_registry_upstream_ratelimit_{name}"
        return self.metrics.registry.get_sample_value(name, labels)

    def test_low(self) -> None:
        """Less than a tenth is little, until the window is over."""
        self.note(ratelimit_limit="100;w=600", ratelimit_remaining="10;w=600")
        self.assertFalse(self.limit.low)
        self.note(ratelimit_limit="100;w=600", ratelimit_remaining="9;w=600")
        self.assertTrue(self.limit.low)
        self.assertEqual((100, 9), (self.gauge("limit"), self.gauge("remaining")))
        self.clock.advance(600)
        self.assertFalse(self.limit.low)

    def test_nothing_said(self) -> None:
        """A host that says nothing has no limit, and what was said before stands."""
        self.note()
        self.assertFalse(self.limit.low)
        self.assertIsNone(self.gauge("remaining"))
        self.note(ratelimit_remaining="3")
        self.assertFalse(self.limit.low)
        self.note(ratelimit_limit="100", ratelimit_remaining="3")
        self.note()
        self.assertTrue(self.limit.low)
        self.clock.advance(DEFAULT_WINDOW)
        self.assertFalse(self.limit.low)

    def test_reserve(self) -> None:
        """The reserve is a share of the limit; blobs may not be counted."""
        self.assertFalse(self.limit.heard)
        self.assertIsNone(self.limit.beside(0.25))
        self.note(RateLimit_Limit="100;w=21600", RateLimit_Remaining="27;w=21600")
        self.assertTrue(self.limit.heard)
        self.assertEqual((2, 17, 0), tuple(map(self.limit.beside, (0.25, 0.1, 1.0))))
        self.assertIn(
            "27 of 100 requests are left of its rate limit, and 25 are reserved",
            self.limit.describe(0.25),
        )
        self.assertIsNone(self.limit.beside(0.25, blob=True))
        headers = {"RateLimit-Limit": "100", "RateLimit-Remaining": "25"}
        self.limit.note(as_response(FakeResponse(headers=headers)), blob=True)
        self.assertEqual(0, self.limit.beside(0.25, blob=True))
        self.clock.advance(DEFAULT_WINDOW + 1)
        self.assertIsNone(self.limit.beside(0.25))
