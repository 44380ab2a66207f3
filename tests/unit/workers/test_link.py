"""The core's end of the connection to a worker."""

from __future__ import annotations

from math import inf
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.web.ready.entries import Repeatable
from oci_registry.workers.leases import Loan
from oci_registry.workers.link import Shared, WorkerLink
from oci_registry.workers.messages import pack, unpack
from oci_registry.workers.packets import socket_pair


class Counting(SynchronousTestCase):
    """What a worker has, and has used."""

    def setUp(self) -> None:
        self.metrics = Metrics()
        self.workers: Any = type("Workers", (), {"lost": lambda *_: None})()
        self.reactor: Any = MemoryReactorClock()
        self.entry = Repeatable().entry((b"a", b"b", b"", b"c", 0.0, inf), ("/v2/", None, None))

    def link(self) -> WorkerLink:
        """Return the end of a connection to a new worker with the number 1."""
        ours, theirs = socket_pair()
        self.theirs = theirs
        self.addCleanup(theirs.close)
        shared: Any = type("Shared", (), {"site": None, "lender": None, "metrics": self.metrics})
        link = WorkerLink(1, ours, cast(Shared, shared), self.workers, self.reactor)
        self.addCleanup(link.close)
        return link

    def count(self, link: WorkerLink, connections: int, cpu: float, memory: int | None) -> None:
        """Have the worker report."""
        nothing: dict[str, Any] = {"responses": [], "uses": []}
        message = pack("count", connections=connections, cpu=cpu, memory=memory, **nothing)
        link._received(unpack(message), ())

    def used(self) -> tuple[float | None, float | None]:
        """Return what is exported of the worker: its CPU seconds, and its memory."""
        names = ("worker_cpu_seconds_total", "worker_resident_memory_bytes")
        cpu, memory = (
            self.metrics.registry.get_sample_value(f"oci_registry_{name}", {"worker": "1"})
            for name in names
        )
        return cpu, memory

    def test_handed_over_before_a_report(self) -> None:
        """A connection that was handed over before it was counted makes the worker no less busy."""
        link = self.link()
        self.count(link, 1, 0.0, 0)
        for _ in range(3):
            link._received(unpack(pack("hand", family=2)), ())
        self.assertEqual((0, 0), (link.connections, link.load))

    def test_consumption(self) -> None:
        """CPU seconds are those of a worker and its successors, and memory is that of the one that runs."""
        first = self.link()
        self.count(first, 1, 2.0, 5000)
        self.count(first, 1, 3.0, 4000)
        self.count(first, 1, 3.0, None)
        self.assertEqual((3.0, 4000), self.used())
        first._lost()
        self.assertEqual((3.0, None), self.used())
        self.count(self.link(), 1, 0.5, 3000)
        self.assertEqual((3.5, 3000), self.used())

    def loan(self, until: float) -> Loan:
        """Return the same answer, which may be used until then."""
        return Loan(b"/v2/", self.entry, until)

    def test_lent_again(self) -> None:
        """An answer is lent again when half its time is over, and when the clock was set back."""
        link = self.link()
        for until, lent in (
            (101.0, True),
            (101.4, False),
            (101.6, True),
            (50.0, True),
            (50.1, False),
        ):
            self.assertTrue(link._has(self.loan(until)))
            try:
                message = unpack(self.theirs.recv(10_000))
            except BlockingIOError:
                self.assertFalse(lent, until)
            else:
                self.assertTrue(lent, until)
                self.assertEqual(until, message.fields["until"])

    def test_recalled(self) -> None:
        """After a recall the worker has nothing, so it is lent the same answer again."""
        link = self.link()
        self.assertTrue(link._has(self.loan(101.0)))
        link.recall()
        self.assertTrue(link._has(self.loan(101.0)))
        kinds = [unpack(self.theirs.recv(10_000)).kind for _ in range(3)]
        self.assertEqual(["lease", "recall", "lease"], kinds)
