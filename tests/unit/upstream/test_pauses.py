"""Servers that say when to come back get no such request before."""

from __future__ import annotations

from oci_registry.upstream.errors import Limited
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.unit.upstream.breakers_case import (
    BreakersTestCase,
    X,
    Y,
    Z,
    about,
)

LONGEST = UpstreamLimits().retry_after


class Limits(BreakersTestCase):
    """Servers that say when to come back."""

    def limit(self, request: ApiRequest, seconds: float = 30.0) -> None:
        self.put(request, Limited("slow down", seconds))

    def test_one_question(self) -> None:
        """A request is not asked again before its time, and others are."""
        self.limit(X)
        error = self.refused(X, Limited)
        self.assertEqual(("30", 30), (error.headers["Retry-After"], self.wait(X)))
        self.assertEqual(30, self.breakers.pause(Kind.MANIFEST, X))
        self.put(Y)
        self.put(about("x", kind=Kind.BLOB))
        self.clock.advance(29.9)
        self.refused(X, Limited)
        self.failureResultOf(self.admit(X, wait=True), Limited)
        self.clock.advance(0.1)
        self.put(X)

    def test_the_kind(self) -> None:
        """When two repositories are limited, all requests of the kind are, and of no other."""
        self.limit(X)
        self.limit(Y)
        self.refused(Z, Limited)
        self.put(about("x", kind=Kind.BLOB))
        self.assertEqual(self.clock.seconds() + 30, self.gauge("paused_until_seconds"))
        self.clock.advance(30)
        self.put(Z)

    def test_the_repository(self) -> None:
        """When two of its tags are limited, a repository is."""
        self.limit(X)
        self.limit(about("x", "other"))
        self.refused(about("x", "third"), Limited)
        self.put(Y)

    def test_one_after_the_other(self) -> None:
        """Of two limits, one that is over does not count."""
        self.limit(X, 10)
        self.clock.advance(10)
        self.limit(Y, 10)
        self.put(Z)

    def test_later_word_does_not_shorten(self) -> None:
        """Of several moments the latest counts, and none is farther off than a bound."""
        self.breakers.record_limit(Kind.MANIFEST, X, 30)
        self.breakers.record_limit(Kind.MANIFEST, X, 5)
        self.assertEqual(30, self.wait(X))
        self.breakers.record_limit(Kind.MANIFEST, X, 10 * LONGEST)
        self.assertEqual(LONGEST, self.wait(X))

    def test_not_broken(self) -> None:
        """A host that limits us has not failed."""
        self.limit(X)
        self.limit(Y)
        self.assertFalse(self.breakers.is_open(Kind.MANIFEST, Z))
        self.assertEqual(1, self.gauge("available"))
