"""The workers as the main process sees them, without any process."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.web.site import RegistrySite
from oci_registry.workers.link import Shared, WorkerLink
from oci_registry.workers.messages import pack, unpack
from oci_registry.workers.options import WorkerOptions
from oci_registry.workers.supervision import WorkerProcesses


class Port:
    """A listening port of the main process."""

    reading = True

    def fileno(self) -> int:
        return 9

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class Reactor(MemoryReactorClock):
    """A reactor that notes which processes are started; *refuse*: or fails to."""

    refuse: OSError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Any, list[str], dict[str, Any]]] = []

    def spawnProcess(self, protocol: Any, executable: str, args: Any = (), **more: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.spawned.append((protocol, list(args), more))


class Link:
    """A worker with so many connections."""

    def __init__(self, load: int) -> None:
        self.load = load
        self.grace: float | None = None

    def close(self) -> None:
        """It is closed."""

    def close_clients(self, grace: float) -> None:
        self.grace = grace


class Supervision(SynchronousTestCase):
    """Two workers on one port."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.port = Port()
        self.metrics = Metrics()
        shared = Shared(cast(RegistrySite, None), self.metrics, StringIO(), None)
        options = WorkerOptions(idle=1.0, linger=2.0, access_log="off")
        self.workers = WorkerProcesses(2, options, shared, lambda: [self.port], self.reactor)
        self.addCleanup(self.close)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("oci_registry.workers"):
            self.logged.append(event["log_format"].format_map(event))

    def close(self) -> None:
        """Close the socket to the forking process that does not exist."""
        if self.workers._control is not None:
            self.workers._control.close()

    def add(self, load: int = 0) -> Any:
        """Add a worker that is ready."""
        link = Link(load)
        self.workers._links.add(cast(WorkerLink, link))
        self.workers.ready(cast(WorkerLink, link))
        return link

    def end_process(self) -> None:
        """End the forking process."""
        reason: Any = type("Reason", (), {"value": type("Value", (), {"signal": 9})})
        self.reactor.spawned[-1][0].processEnded(reason)

    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("oci_registry_workers")

    def test_ports(self) -> None:
        """The main process accepts connections only while there is no worker."""
        self.workers.start()
        self.assertTrue(self.port.reading)
        one, other = self.add(), self.add()
        self.assertEqual((False, 2.0), (self.port.reading, self.gauge()))
        self.workers.lost(one)
        self.assertFalse(self.port.reading)
        self.workers.lost(other)
        self.assertEqual((True, 0.0), (self.port.reading, self.gauge()))

    def test_no_ports(self) -> None:
        """Without a port to share nothing is started."""
        self.workers._find_ports = list
        self.workers.start()
        self.assertEqual([], self.reactor.spawned)
        self.assertIsNone(self.successResultOf(self.workers.close(1.0)))

    def test_no_secrets(self) -> None:
        """The environment of the daemon, which may hold secrets, is not passed on."""
        self.patch(__import__("os"), "environ", {"S3_SECRET_KEY": "x", "LANG": "C", "PATH": "/bin"})
        self.workers.start()
        _, arguments, more = self.reactor.spawned[0]
        self.assertEqual({"LANG", "PATH", "PYTHONPATH"}, set(more["env"]))
        self.assertEqual(9, more["childFDs"][4])
        self.assertIn("oci_registry.workers.forking", arguments)

    def test_least_busy(self) -> None:
        """A connection goes back where it came from, unless another worker has fewer."""
        place: Callable[[Any], Any] = self.workers.place_for
        stranger = Link(0)
        self.assertIsNone(place(stranger))
        busy, idle = self.add(5), self.add(3)
        self.assertIs(idle, place(busy))
        self.assertIs(idle, place(idle))
        self.assertIs(idle, place(stranger))
        busy.load = 4
        self.assertIs(busy, place(busy))

    def test_forking_process_ends(self) -> None:
        """It is started again, at once and then later and later."""
        self.workers.start()
        for number, delay in enumerate((0.0, 1.0, 1.5), 1):
            self.end_process()
            self.assertIn("(signal 9); it is started again", self.logged[-1])
            self.reactor.advance(delay)
            self.assertEqual(number + 1, len(self.reactor.spawned))

    def test_cannot_be_started(self) -> None:
        """If it cannot be started, the main process continues alone, and tries again."""
        self.reactor.refuse = PermissionError(13, "Permission denied")
        self.workers.start()
        self.assertIn("(Permission denied)", self.logged[-1])
        self.assertTrue(self.port.reading)
        self.reactor.refuse = None
        self.reactor.advance(0)
        self.assertEqual(1, len(self.reactor.spawned))

    def test_too_many_files(self) -> None:
        """The same if there is no descriptor left for its connection."""
        full = OSError(24, "Too many open files")
        with patch("oci_registry.workers.supervision.socket_pair", side_effect=full):
            self.workers.start()
            self.assertIn("(Too many open files)", self.logged[-1])
            self.reactor.advance(0)
            self.assertEqual(2, len(self.logged))
        self.assertEqual([], self.reactor.spawned)
        self.reactor.advance(1.0)
        self.assertEqual(1, len(self.reactor.spawned))

    def test_no_connection_to_a_worker(self) -> None:
        """A worker whose descriptor the kernel has dropped is no worker, and a warning says why."""
        self.workers.start()
        self.workers._told(unpack(pack("forked", worker=2, pid=5)), ())
        self.assertEqual(["cannot connect to worker 2: too many open files"], self.logged)
        self.assertEqual(set(), self.workers._links)

    def test_not_started(self) -> None:
        """The process of a worker is named if there was one."""
        self.workers.start()
        for pid, how in ((0, "could not be started"), (5, "was ended by SIGKILL")):
            self.workers._told(unpack(pack("ended", worker=2, pid=pid, how=how, wait=1.5)), ())
        self.assertEqual(
            [
                "worker 2 could not be started; it is started again in 1.5 s",
                "worker 2 (process 5) was ended by SIGKILL; it is started again in 1.5 s",
            ],
            self.logged,
        )

    def test_close(self) -> None:
        """Closing waits for all workers and for the forking process; none is started any more."""
        self.workers.start()
        link = self.add()
        closing = self.workers.close(7.0)
        self.assertEqual(7.0, link.grace)
        self.workers.lost(link)
        self.assertNoResult(closing)
        self.end_process()
        self.successResultOf(closing)
        self.reactor.advance(100)
        self.assertEqual(1, len(self.reactor.spawned))
        self.assertFalse(self.port.reading)

    def test_does_not_end(self) -> None:
        """Workers that have not ended some time after the grace period are killed."""
        self.workers.start()
        self.add()
        closing: Deferred[None] = self.workers.close(7.0)
        self.reactor.advance(9.1)
        self.assertIn("1 workers did not end and were killed", self.logged)
        self.assertNoResult(closing)
        self.end_process()
        self.successResultOf(closing)
