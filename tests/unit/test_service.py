"""How a daemon starts: its ports, threads, store and log."""

from __future__ import annotations

import resource
from typing import Any

from attrs import evolve
from twisted.application.service import Application
from twisted.internet.defer import fail
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver

from oci_registry.config.settings import FilesystemSettings, Settings
from oci_registry.lifecycle import Step
from oci_registry.log_output import STANDARD_OUTPUT, TWISTD, LogPlace
from oci_registry.notify import ServiceManager
from oci_registry.service import Daemon, StartError, make_service
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.lock import StoreInUse
from tests.support.settings import upstream_settings
from tests.unit.service_case import SETTINGS, ServiceTestCase
from tests.unit.web.support import Connection


class Starting(ServiceTestCase):
    """From settings to a daemon that serves."""

    def test_nothing_before_the_start(self) -> None:
        """Making a daemon listens on nothing and waits for nothing."""
        self.make()
        self.assertEqual(([], []), (self.reactor.tcpServers, self.reactor.getDelayedCalls()))
        self.assertFalse(any(pool.running for pool in self.pools))
        self.assertFalse(self.signals[0].installed)

    def test_listening(self) -> None:
        """The same site is on every endpoint."""
        self.start()
        port, site, _, interface = self.reactor.tcpServers[0]
        self.assertEqual((1234, "127.0.0.1"), (port, interface))
        self.assertEqual("/tmp/mirror.sock", self.reactor.unixServers[0][0])
        self.assertIs(site, self.reactor.unixServers[0][1])
        self.assertTrue(all(pool.running for pool in self.pools))

    def test_watching_apart(self) -> None:
        """With an admin listener the metrics are served there only, and the registry is not."""
        self.start(evolve(SETTINGS, admin_listen=("tcp:1235",)))
        (_, site, *_), (port, admin, *_) = self.reactor.tcpServers
        self.assertEqual(1235, port)
        for place, expected in ((site, [200, 200, 200, 404]), (admin, [404, 200, 200, 200])):
            connection = Connection(place)
            for path in ("/v2/", "/healthz", "/readyz", "/metrics"):
                connection.ask(path)
            self.assertEqual(expected, [a.status for a in connection.answers()])
            if place is admin:
                # Connections to the admin site are not counted as clients.
                page = connection.answers()[3].body
                self.assertIn(b"oci_registry_client_connections 0.0", page)
            connection.leave()
        self.assertEqual(
            [
                "info metrics are served on http://0.0.0.0:1235 only",
                "info the admin API needs --admin-token-file on http://0.0.0.0:1235",
            ],
            self.events[-2:],
        )

    def test_serving(self) -> None:
        """A daemon that has started answers."""
        self.start()
        connection = Connection(self.site())
        connection.ask("/v2/")
        connection.ask("/readyz")
        connection.ask("/metrics")
        connection.ask("/v2/UPPER/tags/list")
        self.assertEqual([200, 200, 200, 400], [a.status for a in connection.answers()])
        self.assertIn(b"oci_registry_client_connections 1.0", connection.answers()[2].body)
        connection.leave()

    def test_what_it_says(self) -> None:
        """It logs where it serves and stores, and each warning of the configuration."""
        self.start(
            Settings(("tcp:1",), FilesystemSettings("/nowhere"), warnings=("mind {this}", "two"))
        )
        self.assertEqual(["warn mind {this}", "warn two"], self.events[:2])
        self.assertIn("/nowhere", self.events[2])

    def test_file_limit(self) -> None:
        """The limit of open files is raised to the hard limit."""
        self.start()
        self.assertEqual([(4096, 4096)], self.limits)

    def test_file_limit_reached(self) -> None:
        """A limit that is at the hard limit already is not changed."""
        self.patch(resource, "getrlimit", lambda kind: (4096, 4096))
        self.start()
        self.assertEqual([], self.limits)

    def test_service_manager(self) -> None:
        """The service manager is notified once the reactor runs, and before anything stops."""
        told: list[tuple[str, int, str]] = []
        test = self

        class Manager(ServiceManager):
            """Records each notification, with the ports and the last event at that time."""

            def _send_state(self, state: str) -> None:
                told.append((state, len(test.reactor.tcpServers), test.events[-1].split()[1]))

        self.makers = evolve(self.makers, manager=Manager)
        daemon = self.start()
        self.reactor.advance(0)
        self.assertEqual([("READY=1", 1, "oci-registry")], told)
        self.successResultOf(daemon.stopService())
        self.assertEqual([("STOPPING=1", 1, "stopping")], told[1:])
        self.successResultOf(self.start().stopService())
        self.reactor.advance(0)
        self.assertEqual(["STOPPING=1"], [state for state, *_ in told[2:]])

    def test_broken_store(self) -> None:
        """A store that cannot be prepared is logged, and the daemon still serves."""
        self.starting = fail(StoreError("Read-only file system"))
        daemon = self.start()
        self.assertTrue([e for e in self.events if "Read-only file system" in e])
        self.assertEqual(1, self.errors(daemon, "store"))
        connection = Connection(self.site())
        connection.ask("/v2/")
        self.assertEqual(200, connection.answer().status)
        connection.leave()

    def errors(self, daemon: Daemon, kind: str) -> float | None:
        registry = daemon.parts.metrics.registry
        return registry.get_sample_value("oci_registry_errors_total", {"kind": kind})

    def test_sweeps(self) -> None:
        """Sweeps run at their interval, also after one has failed."""
        daemon = self.start()
        listed: list[str] = []

        def broken(prefix: str) -> object:
            listed.append(prefix)
            raise StoreError("Input/output error")

        self.patch(self.store, "list", broken)
        for sweeps in range(1, 4):
            self.reactor.advance(self.store.sweep_interval)
            self.assertEqual(sweeps, self.errors(daemon, "sweep"))
        self.assertTrue(listed)
        self.assertTrue([event for event in self.events if "Input/output error" in event])

    def test_log_observer(self) -> None:
        """The daemon decides how its application logs, unless twistd has a log of its own."""
        for place, ours in ((STANDARD_OUTPUT, True), (TWISTD, False)):
            application: Any = Application("x")
            make_service(self.reactor, SETTINGS, log_place=place).setServiceParent(application)
            self.assertEqual(ours, application.getComponent(ILogObserver) is not None)

    def test_store_in_use(self) -> None:
        """If a command is changing the store, the daemon does not start, and says so."""

        def share() -> None:
            raise StoreInUse("a command is changing the store /nowhere: start again when it ends")

        self.makers = evolve(self.makers, lock_steps=lambda *_: [Step("store lock", share)])
        exited = self.assertRaises(SystemExit, self.start)
        self.assertIn("oci-registry: a command is changing the store", str(exited.code))
        self.assertFalse(any(pool.running for pool in self.pools))

    def test_no_log_file(self) -> None:
        """A log file that cannot be opened ends the start, and is named."""
        service = make_service(self.reactor, SETTINGS, log_place=LogPlace("/nowhere/x.log"))
        exited = self.assertRaises(SystemExit, service.setServiceParent, Application("x"))
        self.assertIn("/nowhere/x.log: No such file or directory", str(exited.code))

    def test_cannot_listen(self) -> None:
        """A place that is taken ends the start with a message that names its flag."""

        def refuse(port: int, factory: object, backlog: int, interface: str) -> None:
            if port == 1235:
                raise CannotListenError(interface, port, OSError(98, "Address already in use"))

        self.patch(self.reactor, "listenTCP", refuse)
        settings = evolve(SETTINGS, admin_listen=("tcp:1235:interface=127.0.0.1",))
        exited = self.assertRaises(StartError, self.make(settings).privilegedStartService)
        self.assertEqual(
            "oci-registry: 127.0.0.1:1235 is in use: choose another address, such as "
            "--admin-listen 127.0.0.1:1236",
            exited.code,
        )
        self.assertIsInstance(exited, SystemExit)

    def test_configured_namespaces_keep_their_label(self) -> None:
        """A configured registry has a label of its own however many others clients name."""
        upstream = upstream_settings("mine.example.com", "mine.example.com")
        daemon = self.make(Settings(("tcp:1",), FilesystemSettings("/x"), upstreams=(upstream,)))
        for n in range(200):
            daemon.parts.metrics.namespace(f"h{n}.example.com")
        self.assertEqual("mine.example.com", daemon.parts.metrics.namespace("mine.example.com"))
