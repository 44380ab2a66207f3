"""Events as lines for people."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.following import line


class Lines(SynchronousTestCase):
    """`line`."""

    def told(self, kind: str, **fields: Any) -> str:
        return line({"time": 0, "kind": kind, "fields": fields})

    def test_warm(self) -> None:
        """Begin, failures and end of a warming."""
        begun = self.told("warm", phase="begun", run=1, images=3)
        self.assertEqual("00:00:00 warm begun 3 images", begun)
        failed = self.told("warm", phase="failed", run=1, name="docker.io/library/x:1", error="no")
        self.assertEqual("00:00:00 warm failed docker.io/library/x:1: no", failed)
        counts = {"done": 1, "failed": 2, "left": 0, "cancelled": 0}
        ended = self.told("warm", phase="ended", run=1, images=3, **counts)
        self.assertEqual("00:00:00 warm ended 3 images 1 done 2 failed", ended)

    def test_seconds(self) -> None:
        """Numbers have three decimals at most."""
        told = self.told("sweep", phase="ended", seconds=0.123456789012345, blobs=7)
        self.assertEqual("00:00:00 sweep phase=ended seconds=0.123 blobs=7", told)

    def test_odd(self) -> None:
        """What a daemon of another version sends is shown as it is."""
        self.assertEqual("00:00:00 new a=1", self.told("new", a=1, b=None))
        self.assertEqual("- ? ", line({"time": "x", "fields": 7}))
