"""A blob that was wrong is read the other way, once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.upstream import decodings
from oci_registry.upstream.decodings import Decodings

BLOB = Digest.of(b"blob")


class Turns(SynchronousTestCase):
    """What to do with a host's bodies."""

    def test_switch(self) -> None:
        """What was wrong inflated is not inflated the next time, and the other way round."""
        for inflated in (True, False):
            ways = Decodings()
            self.assertIsNone(ways.get(BLOB, "a"))
            self.assertTrue(ways.switch(BLOB, "a", inflated))
            self.assertIs(not inflated, ways.get(BLOB, "a"))
            self.assertIsNone(ways.get(BLOB, "b"))

    def test_wrong_both_ways(self) -> None:
        """What was wrong both ways is wrong, and is guessed at again."""
        ways = Decodings()
        ways.switch(BLOB, "a", True)
        self.assertFalse(ways.switch(BLOB, "a", False))
        self.assertIsNone(ways.get(BLOB, "a"))
        self.assertTrue(ways.switch(BLOB, "a", True))

    def test_bounded(self) -> None:
        """Only so many are remembered."""
        ways = Decodings()
        for number in range(decodings._REMEMBERED + 5):
            ways.switch(BLOB, str(number), True)
        self.assertIsNone(ways.get(BLOB, "4"))
        self.assertIs(False, ways.get(BLOB, "5"))
