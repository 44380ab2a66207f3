"""The object graph of a daemon: what it listens on, and the order in which it starts and stops."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from twisted.application.service import Application, MultiService
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.build import Makers
from oci_registry.config.settings import FilesystemSettings, Settings, UpstreamSources
from oci_registry.config.sources import reread_upstreams
from oci_registry.eviction.periodic import PeriodicSweep
from oci_registry.lifecycle import STOP_TIMEOUT
from oci_registry.notify import ServiceManager
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.reload import Reloader
from oci_registry.service import Daemon, make_service
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.interfaces import StoreError
from oci_registry.upstream.connecting import Connector
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.patience import Patience
from oci_registry.web.root import READY_TIMEOUT
from oci_registry.web.site import RegistrySite
from tests.support.settings import upstream_settings
from tests.unit.web.support import Connection

SETTINGS = Settings(
    listen=("tcp:1234:interface=127.0.0.1", "unix:/tmp/mirror.sock"),
    storage=FilesystemSettings("/nowhere"),
    shutdown_grace=30.0,
)


class Pool:
    """A pool of threads without threads."""

    def __init__(self, reactor: object, name: str, threads: int) -> None:
        self.name = name
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> bool:
        self.running = False
        return True

    def __call__(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        return execute(call, *args)


class Reactor(MemoryReactorClock):
    """A reactor in memory, of which threads have nothing to wait for."""

    def callFromThread(self, call: Callable[[], None]) -> None:
        call()


class Signal:
    """SIGHUP without a process: `installed`, or not, and `react` as if it had come."""

    installed = False

    def __init__(self, from_thread: object, react: Callable[[], None]) -> None:
        self.react = react

    def install(self) -> None:
        self.installed = True

    def remove(self) -> None:
        self.installed = False


class ServiceTestCase(SynchronousTestCase):
    """A daemon on a reactor, a store and threads that are all in memory."""

    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.signals: list[Signal] = []
        self.pools: list[Pool] = []
        self.events: list[str] = []
        self.starting: Deferred[None] = succeed(None)
        self.makers = Makers(
            pool=self.pool,
            driver=self.driver,
            access_log=lambda settings, reactor: Silent(),
            hangup=self.signal,
        )
        self.limits: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda kind: (1024, 4096))
        self.patch(resource, "setrlimit", lambda kind, limits: self.limits.append(limits))
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def signal(self, *args: Any) -> Signal:
        self.signals.append(Signal(*args))
        return self.signals[-1]

    def pool(self, *args: Any) -> Pool:
        self.pools.append(Pool(*args))
        return self.pools[-1]

    def driver(self, settings: Settings, lanes: object, clock: IReactorTime) -> MemoryDriver:
        self.store = MemoryDriver(clock)
        self.patch(self.store, "start", lambda: self.starting)
        return self.store

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("oci_registry"):
            level = event["log_level"].name
            self.events.append(f"{level} {event['log_format'].format_map(event)}")

    def make(self, settings: Settings = SETTINGS) -> Daemon:
        return Daemon(self.reactor, settings, makers=self.makers)

    def start(self, settings: Settings = SETTINGS) -> Daemon:
        daemon = self.make(settings)
        daemon.privilegedStartService()
        daemon.startService()
        return daemon

    def site(self) -> RegistrySite:
        site = self.reactor.tcpServers[0][1]
        assert isinstance(site, RegistrySite)
        return site


class Silent:
    """An access log that nobody reads."""

    wanted = False


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
        """With a place for those who watch the metrics are there only, where clients are not served."""
        self.start(evolve(SETTINGS, admin_listen=("tcp:1235",)))
        (_, site, *_), (port, admin, *_) = self.reactor.tcpServers
        self.assertEqual(1235, port)
        for place, expected in ((site, [200, 200, 200, 404]), (admin, [404, 200, 200, 200])):
            connection = Connection(place)
            for path in ("/v2/", "/healthz", "/readyz", "/metrics"):
                connection.ask(path)
            self.assertEqual(expected, [a.status for a in connection.answers()])
            if place is admin:
                # Those who watch are no clients.
                page = connection.answers()[3].body
                self.assertIn(b"oci_registry_client_connections 0.0", page)
            connection.leave()
        self.assertIn("tcp:1235 only", self.events[-1])

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
        """It may have as many open files as the system allows: one or two are needed per client."""
        self.start()
        self.assertEqual([(4096, 4096)], self.limits)

    def test_file_limit_reached(self) -> None:
        """A limit that is as high as it may be stays."""
        self.patch(resource, "getrlimit", lambda kind: (4096, 4096))
        self.start()
        self.assertEqual([], self.limits)

    def test_service_manager(self) -> None:
        """It is told that the daemon is ready once the reactor runs, and first of all that it stops."""
        told: list[tuple[str, int, str]] = []
        test = self

        class Manager(ServiceManager):
            def _send_state(self, state: str) -> None:
                told.append((state, len(test.reactor.tcpServers), test.events[-1].split()[1]))

        self.makers = evolve(self.makers, manager=Manager)
        daemon = self.start()
        self.reactor.advance(0)
        self.assertEqual([("READY=1", 1, "serving")], told)
        self.successResultOf(daemon.stopService())
        self.assertEqual([("STOPPING=1", 1, "stopping")], told[1:])
        self.successResultOf(self.start().stopService())
        self.reactor.advance(0)
        self.assertEqual(["STOPPING=1"], [state for state, *_ in told[2:]])

    def test_broken_store(self) -> None:
        """A store that cannot be prepared is logged, and the daemon serves all the same."""
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
        """The sweep comes at its time, and one that fails does not end the others."""
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
        """The daemon decides how its application logs, unless twistd was told."""
        for keep in (False, True):
            application: Any = Application("x")
            make_service(self.reactor, SETTINGS, keep_twistd_log=keep).setServiceParent(application)
            self.assertEqual(not keep, application.getComponent(ILogObserver) is not None)

    def test_configured_namespaces_keep_their_label(self) -> None:
        """A configured registry has a label of its own however many others clients name."""
        upstream = upstream_settings("mine.example.com", "mine.example.com")
        daemon = self.make(Settings(("tcp:1",), FilesystemSettings("/x"), upstreams=(upstream,)))
        for n in range(200):
            daemon.parts.metrics.namespace(f"h{n}.example.com")
        self.assertEqual("mine.example.com", daemon.parts.metrics.namespace("mine.example.com"))


class Rereading(ServiceTestCase):
    """SIGHUP."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.mktemp())
        self.write("a.example")
        settings = evolve(SETTINGS, sources=UpstreamSources(str(self.file)))
        upstreams = reread_upstreams(settings).upstreams
        self.running = self.start(evolve(settings, upstreams=upstreams))
        self.assertTrue(self.signals[0].installed)

    def write(self, *namespaces: str) -> None:
        entries = [
            f"- {{namespace: {n}, host: {n}, blob_invalidation_time: 1d}}" for n in namespaces
        ]
        self.file.write_text("\n".join(entries))

    def hosts(self) -> set[str]:
        """The hosts that are exported."""
        page = self.running.parts.metrics.page().decode()
        return set(re.findall(r'upstream_available\{host="([^"]+)"', page))

    def test_reread(self) -> None:
        """What the file says then holds, for everything that goes by it."""
        self.assertEqual({"a.example"}, self.hosts())
        self.write("b.example")
        self.signals[0].react()
        self.assertIn("added b.example; removed a.example", self.events[-1])
        self.assertEqual({"b.example"}, self.hosts())

    def test_bad(self) -> None:
        """A file that cannot be used changes nothing."""
        self.file.write_text("- {namespace: b.example}\n- 5")
        self.signals[0].react()
        self.assertEqual(2, len([e for e in self.events if "upstreams are unchanged" in e]))
        self.assertEqual({"a.example"}, self.hosts())

    def test_broken_certificate(self) -> None:
        """Nor does one whose certificates change while they are looked at; what was made is undone."""
        made: list[str] = []
        way_to = Connector._way_to

        def failing(connector: Connector, settings: Any, host: Any, shared: Any) -> Any:
            made.append(host.host)
            if host.host == "c.example":
                raise ValueError("ca.pem holds no certificate")
            return way_to(connector, settings, host, shared)

        self.patch(Connector, "_way_to", failing)
        self.write("a.example", "b.example", "c.example")
        self.signals[0].react()
        self.assertEqual(["b.example", "c.example"], made)
        self.assertEqual({"a.example"}, self.hosts())
        self.assertIn("holds no certificate", self.events[-1])

    def test_stopping(self) -> None:
        """The signal is kept from the system until the end, and changes nothing any more."""
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
        """Connections are ended before what serves them is."""
        daemon = self.start()
        connection = Connection(self.site())
        stopped = daemon.stopService()
        self.assertTrue(connection.transport.disconnecting)
        self.assertNoResult(stopped)
        self.assertTrue(all(pool.running for pool in self.pools))
        connection.leave()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_those_who_watch(self) -> None:
        """Their connections are ended too."""
        daemon = self.start(evolve(SETTINGS, admin_listen=("tcp:1235",)))
        connection = Connection(self.reactor.tcpServers[1][1])
        stopped = daemon.stopService()
        self.assertTrue(connection.transport.disconnecting)
        self.assertNoResult(stopped)
        connection.leave()
        self.successResultOf(stopped)

    def test_response_under_way(self) -> None:
        """A response that is under way is completed first."""
        connection, stopped = self.stop_with_a_response_under_way()
        self.assertFalse(connection.transport.closed)
        self.assertNoResult(stopped)
        self.reactor.advance(READY_TIMEOUT + 1)
        self.assertEqual(503, connection.answer().status)
        connection.leave()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_grace(self) -> None:
        """A response that does not end is cut off after the grace period."""
        settings = evolve(SETTINGS, shutdown_grace=READY_TIMEOUT - 1)
        connection, stopped = self.stop_with_a_response_under_way(settings)
        self.reactor.advance(READY_TIMEOUT - 2)
        self.assertFalse(connection.transport.aborted)
        self.reactor.advance(1)
        self.assertTrue(connection.transport.aborted)
        connection.leave()
        self.successResultOf(stopped)
        self.assertFalse(any(pool.running for pool in self.pools))

    def stop_with_a_response_under_way(
        self, settings: Settings = SETTINGS
    ) -> tuple[Connection, Deferred[Any]]:
        self.patch(MemoryDriver, "check", lambda _: Deferred())
        daemon = self.start(settings)
        connection = Connection(self.site())
        connection.ask("/readyz")
        return connection, daemon.stopService()

    def test_twice(self) -> None:
        """A daemon can be made and stopped again on the same settings."""
        for _ in range(2):
            self.successResultOf(self.start().stopService())

    def noting(self, owner: type, name: str, *, failing: bool) -> None:
        """Note in `stopped` whose method is called; it fails if *failing*."""
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
        (Patience, "stop"),
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
        """Each part outlives those that need it: the driver the transfers, the threads the driver."""
        self.assertEqual(
            [owner.__name__ for owner, _ in self.ORDER], self.stop_noting(failing=False)
        )
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_faults(self) -> None:
        """Whatever fails keeps no other part from being stopped."""
        expected = [owner.__name__ for owner, _ in self.ORDER]
        self.assertEqual(expected, self.stop_noting(failing=True))
        self.assertTrue(self.flushLoggedErrors(OSError))
        self.assertEqual("info stopped", self.events[-1])

    def test_hanging_part(self) -> None:
        """A part that does not end is given up after its time, and named."""
        self.patch(UpstreamTable, "close", lambda _: Deferred())
        stopped = self.start().stopService()
        self.assertNoResult(stopped)
        self.reactor.advance(STOP_TIMEOUT)
        self.successResultOf(stopped)
        self.assertTrue([event for event in self.events if "stopping the upstreams" in event])
        self.assertFalse(any(pool.running for pool in self.pools))
