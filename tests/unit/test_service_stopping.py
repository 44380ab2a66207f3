"""How a running daemon reloads its upstreams, and how it stops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from oci_registry.config.settings import Settings, UpstreamSources
from oci_registry.config.sources import reread_upstreams
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.lifecycle import STOP_TIMEOUT
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.reload import Reloader
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.guard import StoreLimits
from oci_registry.upstream.connecting import Connector
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.site import RegistrySite
from tests.support.certificates import Certified
from tests.unit.service_case import SETTINGS, Pool, ServiceTestCase, Signal
from tests.unit.web.support import Connection

LOOKUP = StoreLimits().lookup


class Reloading(ServiceTestCase):
    """Reloading the upstreams on SIGHUP."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.mktemp())
        self.write("a.example")
        settings = evolve(SETTINGS, sources=UpstreamSources(str(self.file)))
        upstreams = reread_upstreams(settings).upstreams
        self.running = self.start(evolve(settings, upstreams=upstreams))
        self.assertTrue(self.signals[0].installed)

    def write(self, *namespaces: str, more: str = "") -> None:
        entries = [
            f"- {{namespace: {n}, host: {n}, blob_invalidation_time: 1d{more}}}" for n in namespaces
        ]
        self.file.write_text("\n".join(entries))

    def hosts(self) -> set[str]:
        """The hosts that are exported."""
        page = self.running.parts.metrics.page().decode()
        return set(re.findall(r'upstream_available\{host="([^"]+)"', page))

    def test_reread(self) -> None:
        """The new upstreams are used, and the old ones removed."""
        self.assertEqual({"a.example"}, self.hosts())
        self.write("b.example")
        self.signals[0].react()
        self.assertIn("added b.example; removed a.example", self.events[-1])
        self.assertEqual({"b.example"}, self.hosts())

    def test_bad(self) -> None:
        """An invalid file changes nothing."""
        self.file.write_text("- {namespace: b.example}\n- 5")
        self.signals[0].react()
        self.assertEqual(2, len([e for e in self.events if "upstreams are unchanged" in e]))
        self.assertEqual({"a.example"}, self.hosts())

    def test_broken_certificate(self) -> None:
        """A file whose certificates cannot be loaded changes nothing either."""
        made: list[str] = []
        http_client = Connector._http_client

        def failing(connector: Connector, settings: Any, host: Any, shared: Any) -> Any:
            made.append(host.host)
            if host.host == "c.example":
                raise ValueError("ca.pem holds no certificate")
            return http_client(connector, settings, host, shared)

        self.patch(Connector, "_http_client", failing)
        authority = Path(self.mktemp()).absolute()
        authority.write_bytes(Certified("ca.example").certificate)
        self.write("a.example", "b.example", "c.example", more=f", ca_file: {authority}")
        self.signals[0].react()
        self.assertEqual(["a.example", "b.example", "c.example"], made)
        self.assertEqual({"a.example"}, self.hosts())
        self.assertIn("holds no certificate", self.events[-1])

    def test_stopping(self) -> None:
        """While the daemon stops the signal is ignored, and its handler is removed last."""
        connection = Connection(self.site())
        stopped = self.running.stopService()
        self.assertTrue(self.signals[0].installed)
        self.write("b.example")
        self.signals[0].react()
        self.assertEqual({"a.example"}, self.hosts())
        connection.leave()
        self.successResultOf(stopped)
        self.assertFalse(self.signals[0].installed)


class Stopping(ServiceTestCase):
    """From a daemon that serves to nothing."""

    def test_idle(self) -> None:
        """An idle daemon stops at once, and leaves neither timers nor threads."""
        daemon = self.start()
        self.successResultOf(daemon.stopService())
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertFalse(any(pool.running for pool in self.pools))
        self.assertEqual(["info stopping", "info stopped"], self.events[-2:])

    def test_connections(self) -> None:
        """Connections are closed before the parts that serve them stop."""
        daemon = self.start()
        connection = Connection(self.site())
        stopped = daemon.stopService()
        self.assertTrue(connection.transport.disconnecting)
        self.assertNoResult(stopped)
        self.assertTrue(all(pool.running for pool in self.pools))
        connection.leave()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_admin_connections(self) -> None:
        """Connections to the admin site are closed too."""
        daemon = self.start(evolve(SETTINGS, admin_listen=("tcp:1235",)))
        connection = Connection(self.reactor.tcpServers[1][1])
        stopped = daemon.stopService()
        self.assertTrue(connection.transport.disconnecting)
        self.assertNoResult(stopped)
        connection.leave()
        self.successResultOf(stopped)

    def test_response_under_way(self) -> None:
        """A running response is completed first."""
        connection, stopped = self.stop_with_a_response_under_way()
        self.assertFalse(connection.transport.closed)
        self.assertNoResult(stopped)
        self.reactor.advance(LOOKUP + 1)
        self.assertEqual(503, connection.answer().status)
        connection.leave()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_grace(self) -> None:
        """A response that does not end is aborted after the grace period."""
        settings = evolve(SETTINGS, shutdown_grace=LOOKUP - 1)
        connection, stopped = self.stop_with_a_response_under_way(settings)
        self.reactor.advance(LOOKUP - 2)
        self.assertFalse(connection.transport.aborted)
        self.reactor.advance(1)
        self.assertTrue(connection.transport.aborted)
        connection.leave()
        # The check of the store hangs.
        self.reactor.advance(StoreLimits().cleanup)
        self.successResultOf(stopped)
        self.assertFalse(any(pool.running for pool in self.pools))

    def stop_with_a_response_under_way(
        self, settings: Settings = SETTINGS
    ) -> tuple[Connection, Deferred[Any]]:
        self.patch(MemoryDriver, "check_reading", lambda _: Deferred())
        daemon = self.start(settings)
        connection = Connection(self.site())
        connection.ask("/readyz")
        return connection, daemon.stopService()

    def test_twice(self) -> None:
        """A daemon can be made and stopped again on the same settings."""
        for _ in range(2):
            self.successResultOf(self.start().stopService())

    def noting(self, owner: type, name: str, *, failing: bool) -> None:
        """Record calls of a method in `stopped`; the method fails if *failing*."""
        original = getattr(owner, name)

        def noted(part: Any, *arguments: Any) -> Any:
            self.stopped.append(owner.__name__)
            if failing:
                raise OSError(owner.__name__)
            return original(part, *arguments)

        self.patch(owner, name, noted)

    ORDER: ClassVar[list[tuple[type, str]]] = [
        (Reloader, "stop"),
        (MultiService, "stopService"),
        (PeriodicSweep, "stop"),
        (RegistrySite, "close"),
        (ClientWatch, "stop"),
        (ManifestCache, "stop"),
        (Transfers, "stop"),
        (RecordWriter, "stop"),
        (MemoryDriver, "stop"),
        (UpstreamTable, "close"),
        (Pool, "stop"),
        (Signal, "remove"),
    ]

    def stop_noting(self, *, failing: bool) -> list[str]:
        """Return the kinds of parts that are stopped, in order."""
        self.stopped: list[str] = []
        for owner, name in self.ORDER:
            self.noting(owner, name, failing=failing)
        self.successResultOf(self.start().stopService())
        return list(dict.fromkeys(self.stopped))

    def test_order(self) -> None:
        """Each part stops after those that use it: the driver after the transfers, the threads last."""
        self.assertEqual(
            [owner.__name__ for owner, _ in self.ORDER], self.stop_noting(failing=False)
        )
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_faults(self) -> None:
        """A part that fails to stop does not keep the others from stopping."""
        expected = [owner.__name__ for owner, _ in self.ORDER]
        self.assertEqual(expected, self.stop_noting(failing=True))
        self.assertTrue(self.flushLoggedErrors(OSError))
        self.assertEqual("info stopped", self.events[-1])

    def test_hanging_part(self) -> None:
        """A part that does not stop in time is logged, and the others stop."""
        self.patch(UpstreamTable, "close", lambda _: Deferred())
        stopped = self.start().stopService()
        self.assertNoResult(stopped)
        self.reactor.advance(STOP_TIMEOUT)
        self.successResultOf(stopped)
        self.assertTrue([event for event in self.events if "stopping the upstreams" in event])
        self.assertFalse(any(pool.running for pool in self.pools))
