"""A blob that was wrong is read the other way, once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.upstream import readings
from oci_registry.upstream.readings import Readings

BLOB = Digest.of(b"blob")


class Turns(SynchronousTestCase):
    """What to do with a host's bodies."""

    def test_the_other_way(self) -> None:
        """What was wrong inflated is not inflated the next time, and the other way round."""
        for inflated in (True, False):
            ways = Readings()
            self.assertIsNone(ways.of(BLOB, "a"))
            self.assertTrue(ways.other_way(BLOB, "a", inflated))
            self.assertIs(not inflated, ways.of(BLOB, "a"))
            self.assertIsNone(ways.of(BLOB, "b"))

    def test_wrong_both_ways(self) -> None:
        """What was wrong both ways is wrong, and is guessed at again."""
        ways = Readings()
        ways.other_way(BLOB, "a", True)
        self.assertFalse(ways.other_way(BLOB, "a", False))
        self.assertIsNone(ways.of(BLOB, "a"))
        self.assertTrue(ways.other_way(BLOB, "a", True))

    def test_bounded(self) -> None:
        """Only so many are remembered."""
        ways = Readings()
        for number in range(readings._REMEMBERED + 5):
            ways.other_way(BLOB, str(number), True)
        self.assertIsNone(ways.of(BLOB, "4"))
        self.assertIs(False, ways.of(BLOB, "5"))
