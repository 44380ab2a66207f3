"""The daemon in this process, on a free port, with an upstream that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from shutil import rmtree
from typing import Any

from attrs import evolve
from twisted.internet import reactor as real_reactor  # noqa: TID251 - tests on real sockets
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from oci_registry.account.schema import FILE
from oci_registry.activity.file import FILE as ACTIVITY
from oci_registry.config.settings import FilesystemSettings, Settings, UpstreamSettings
from oci_registry.makers import Makers
from oci_registry.service import Daemon
from oci_registry.storage.guard import StoreLimits
from oci_registry.storage.lock import LOCK
from tests.support.client import Client
from tests.support.fake_registry import FakeRegistry
from tests.support.folders import make_folder
from tests.support.forward import ForwardReactor
from tests.support.network import Network
from tests.support.settings import upstream_settings

reactor: Any = real_reactor

PATIENT = StoreLimits(lookup=600.0, begin=600.0, read=600.0, record=600.0)
"""Deadlines that no call of the store misses, however busy the machine is: each miss counts as a failure.

Calls are made in threads, for which time does not pass faster while `ForwardReactor.hurry` works.
"""


def running(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Deferred[None]]:
    """Make a coroutine a test, which ends when trial's time limit is over.

    Trial only fires what it was given. A coroutine that goes on behind it disturbs the tests that follow,
    and its end is reported as an error of one of them.
    """

    @wraps(test)
    def run(self: Any) -> Deferred[None]:
        work = Deferred.fromCoroutine(test(self))
        outcome: Deferred[None] = Deferred(lambda _: work.cancel())

        def ended(result: Any) -> None:
            if not outcome.called:
                outcome.callback(result)

        def given_up(failure: Failure) -> Failure:
            # Does nothing after the end.
            work.cancel()
            return failure

        work.addBoth(ended)
        return outcome.addErrback(given_up)

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Let the reactor continue until *condition* holds; trial's time limit ends what never does."""
    pause = 0.002
    while not condition():
        await deferLater(reactor, pause)
        # Often at first: most of it is a matter of milliseconds.
        pause = min(1.1 * pause, 0.02)


class MirrorTestCase(TestCase):
    """A fake upstream for docker.io and example.com, a daemon, and a client of it.

    `time` is the clock of both; `time.forward` lets it pass.
    """

    timeout = 120
    makers = Makers(store_limits=PATIENT)

    def setUp(self) -> None:
        self.time = ForwardReactor(reactor)
        self.registries: list[FakeRegistry] = []
        self.registry = self.another()
        self._folders: list[Path] = []
        self.root = self._make_root()
        self.daemons: list[Daemon] = []

    def _make_root(self) -> Path:
        """Return where a store may be made; what is there is removed when the daemons have stopped."""
        folder = make_folder()
        self._folders.append(folder)
        return folder / "root"

    def another(self) -> FakeRegistry:
        """Return one more server, which is stopped in the end."""
        registry = FakeRegistry()
        registry.start(self.time)
        self.registries.append(registry)
        return registry

    def upstream(self, namespace: str, **settings: Any) -> UpstreamSettings:
        """Return the settings of an upstream at `registry`, or at the ``host`` or ``hosts`` given."""
        if "hosts" not in settings:
            settings.setdefault("host", self.registry.host)
        return upstream_settings(namespace=namespace, tls=False, **settings)

    async def start(
        self,
        *upstreams: UpstreamSettings,
        grace: float = 5.0,
        on: Any = None,
        makers: Makers | None = None,
        **settings: Any,
    ) -> Daemon:
        """Start the daemon (again); `client` then talks to it. *on*: its reactor, if not `time`."""
        chosen = upstreams or (self.upstream("docker.io"), self.upstream("example.com"))
        settings.setdefault("storage", FilesystemSettings(str(self.root)))
        settings.setdefault("listen", ("tcp:0:interface=127.0.0.1",))
        if makers is None:
            makers = self.makers
        if isinstance(on, Network):
            makers = evolve(makers, resolver=lambda reactor, _: reactor.nameResolver)
        daemon = Daemon(
            on or self.time,
            Settings(
                upstreams=chosen,
                shutdown_grace=grace,
                log_level="critical",
                **settings,
            ),
            makers=makers,
        )
        self.daemons.append(daemon)
        daemon.privilegedStartService()
        daemon.startService()
        port = await daemon.parts.ports.services[0]._waitingForPort  # type: ignore[attr-defined]
        daemon.parts.ports.services[0]._waitingForPort.addErrback(lambda _: None)  # type: ignore[attr-defined]
        daemon.parts.ports.services[0]._waitingForPort = _fired(port)  # type: ignore[attr-defined]
        self.client = Client(reactor, port.getHost().port)
        self.addCleanup(self.client.close)
        return daemon

    async def stop(self) -> None:
        """Stop the daemon that was started last."""
        daemon = self.daemons.pop()
        await daemon.stopService()

    async def afresh(self) -> None:
        """Stop the daemon and forget everything: what is started then has a cold store."""
        while self.daemons:
            await self.stop()
        self.root = self._make_root()
        for registry in self.registries:
            registry.unscript()
            registry.asked.clear()

    async def idle(self) -> None:
        """Wait until no transfer of any daemon is under way."""
        await until(lambda: not any(daemon.parts.transfers._all for daemon in self.daemons))

    async def later(self, seconds: float) -> None:
        """Let so many seconds pass when nothing is being stored, so that no write takes so long."""
        await self.idle()
        await until(lambda: not any(len(daemon.parts.records) for daemon in self.daemons))
        self.time.forward(seconds)

    @running
    async def tearDown(self) -> None:
        for response in self.client.responses if hasattr(self, "client") else ():
            if response.transport is not None:
                response.close()
        while self.daemons:
            await self.stop()
        for registry in self.registries:
            await registry.stop()
        await until(lambda: not any(registry.channels for registry in self.registries))
        # Sockets that were closed just now are noticed in the reactor's next round.
        await deferLater(reactor, 0)
        for folder in self._folders:
            rmtree(folder)

    async def account_complete(self) -> None:
        """Wait until the last daemon knows what is stored, before which its sweep evicts nothing."""
        account = self.daemons[-1].parts.account
        await until(lambda: account is None or account.is_off or account.is_complete)

    def files(self, folder: str = "") -> set[str]:
        """Return the files below the root, relative to it, without the lock."""
        top = self.root / folder
        while True:
            try:
                found = {str(p.relative_to(self.root)) for p in top.rglob("*") if p.is_file()}
                # The account may come and go at any time, and so may the history of the activity.
                return {
                    each for each in found if each != LOCK and not each.startswith((FILE, ACTIVITY))
                }
            except FileNotFoundError:
                # A directory went away meanwhile; then there is less to be seen the next time.
                continue


def _fired(value: Any) -> Deferred[Any]:
    fired: Deferred[Any] = Deferred()
    fired.callback(value)
    return fired
