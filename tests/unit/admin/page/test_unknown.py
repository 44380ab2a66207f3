"""What cannot be shown."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.page.unknown import Unknown, all_of
from oci_registry.admin.problems import Unavailable


class All(SynchronousTestCase):
    """Several questions at the same time."""

    def setUp(self) -> None:
        self.asked: dict[str, Deferred[str]] = {"a": Deferred(), "b": Deferred()}
        self.found = Deferred.fromCoroutine(all_of(self.asked))

    def test_one_fails(self) -> None:
        """What fails leaves the others as they are."""
        self.asked["b"].callback("found")
        self.asked["a"].errback(Unavailable("not now"))
        expected = {"a": Unknown("not now", 503), "b": "found"}
        self.assertEqual(expected, self.successResultOf(self.found))

    def test_defect(self) -> None:
        """A defect is logged."""
        self.asked["a"].callback("found")
        self.asked["b"].errback(ZeroDivisionError())
        self.assertEqual(
            Unknown("internal error; see the log"), self.successResultOf(self.found)["b"]
        )
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_reader_leaves(self) -> None:
        """When the reader has left, nothing is asked any more, and nothing is logged."""
        self.found.cancel()
        self.failureResultOf(self.found, CancelledError)
        self.assertTrue(all(each.called for each in self.asked.values()))
