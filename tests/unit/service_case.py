"""A daemon whose reactor, store and threads are all in memory."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import FilesystemSettings, Settings
from oci_registry.makers import Makers
from oci_registry.service import Daemon
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.web.site import RegistrySite
from tests.support.account import MemoryMedium

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

    def replace(self, returned: Deferred[None]) -> None:
        """There is no thread that could hang."""

    def __call__(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        return execute(call, *args)


class Reactor(MemoryReactorClock):
    """A reactor in memory that runs calls from threads at once."""

    def callFromThread(self, call: Callable[[], None]) -> None:
        call()


class Signal:
    """A fake handler of SIGHUP: *installed* or not; `react` simulates the signal."""

    installed = False

    def __init__(self, from_thread: object, react: Callable[[], None]) -> None:
        self.react = react

    def install(self) -> None:
        self.installed = True

    def remove(self) -> None:
        self.installed = False


class Store(MemoryDriver):
    """A store that may stand for a bucket, of which an account reads."""

    def medium(self) -> MemoryMedium:
        return MemoryMedium(self, remote=True)


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
            access_log=lambda *_: Silent(),
            hangup=self.signal,
            further_signals=lambda *_: nullcontext(),
            lock_steps=lambda *_: [],
            store_socket=False,
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
        self.store = Store(clock)
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
    """An access log that is switched off."""

    wanted = False

    def stop(self) -> None:
        """Have nothing to write."""
