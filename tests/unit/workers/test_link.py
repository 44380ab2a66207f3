"""The core's end of the connection to a worker."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.link import Shared, WorkerLink
from oci_registry.workers.messages import pack, unpack
from oci_registry.workers.packets import socket_pair


class Counting(SynchronousTestCase):
    """How many connections a worker has."""

    def test_handed_over_before_a_report(self) -> None:
        """A connection that was handed over before it was counted makes the worker no less busy."""
        ours, theirs = socket_pair()
        self.addCleanup(theirs.close)
        shared: Any = type("Nothing", (), {"site": None, "lender": None})
        workers: Any = None
        reactor: Any = MemoryReactorClock()
        link = WorkerLink(1, ours, cast(Shared, shared), workers, reactor)
        self.addCleanup(link.close)
        link._received(unpack(pack("count", connections=1, responses=[], uses=[])), ())
        for _ in range(3):
            link._received(unpack(pack("hand", family=2)), ())
        self.assertEqual((0, 0), (link.connections, link.load))
