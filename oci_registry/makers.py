"""The numbers of threads of a daemon, and the factories of parts that tests replace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from attrs import Factory, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IReactorTime

from oci_registry.account.account import AccountLimits
from oci_registry.config.settings import Settings, StorageSettings
from oci_registry.eviction.limit import LimitTimes
from oci_registry.lifecycle import Step, further_signals
from oci_registry.log_output import Output
from oci_registry.logs import build_access_log
from oci_registry.metrics import Metrics
from oci_registry.notify import ServiceManager
from oci_registry.pullthrough.far import FarLimits
from oci_registry.pullthrough.holding import INTERVAL
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.reload import Hangup
from oci_registry.scrub.limits import ScrubLimits
from oci_registry.storage.drivers import make_driver
from oci_registry.storage.guard import StoreLimits
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.lock import lock_steps
from oci_registry.streams.threads import Lanes, RunInThread, Workers
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.web.port import TRANSPORTS, Transports


class Pool(RunInThread, Protocol):
    """A thread pool that is started and stopped with the daemon."""

    def start(self) -> None:
        """Accept work."""

    def replace(self, returned: Deferred[None]) -> None:
        """Add a thread in place of one that hangs, until *returned* fires."""

    def stop(self) -> bool:
        """Finish the submitted calls, and stop the threads; return whether all have stopped."""


@frozen
class Sizes:
    """How many threads each pool has.

    *lookup*: calls of the store that a client waits for. *begin*: new objects. *ingest*: hashing and writing
    of downloads. *commit*: the end of new objects, which takes seconds on some disks. *housekeeping*:
    listings, deletions and checks. *parsers*: hashing and parsing of large manifests, without any I/O.
    *configuration*: configuration files. *account*: the account, which needs exactly one. *names*: look-ups
    of names, each of which waits for a name server.
    """

    lookup: int = 8
    begin: int = 2
    ingest: int = 4
    commit: int = 4
    housekeeping: int = 2
    parsers: int = 2
    configuration: int = 1
    account: int = 1
    names: int = 128

    @classmethod
    def for_connections(cls, connections: int) -> Sizes:
        """Return sizes for a bucket: a thread for each connection, since each waits for a response."""
        housekeeping = max(1, connections // 8)
        commit = max(1, connections * 3 // 8)
        lookup = max(1, connections - commit - housekeeping)
        return cls(lookup=lookup, commit=commit, housekeeping=housekeeping)


def _make_driver(settings: Settings, lanes: Lanes, reactor: Any) -> IDriver:
    return make_driver(settings.storage, lanes, reactor)


def _make_resolver(_: Any, in_thread: RunInThread) -> IHostnameResolver:
    # Not needed before the first miss, as all that talks to registries.
    from oci_registry.upstream.names import ThreadedResolver  # noqa: PLC0415

    return ThreadedResolver(in_thread)


def _make_access_log(settings: Settings, output: Output, reactor: Any) -> Any:
    return build_access_log(settings.access_log_in_effect, output, reactor)


@frozen
class Makers:
    """Factories and limits of the parts that tests replace; most of these use the operating system.

    *store_socket*: False for no admin socket in the directory of a store.
    """

    pool: Callable[[Any, str, int], Pool] = Workers
    driver: Callable[[Settings, Lanes, Any], IDriver] = _make_driver
    access_log: Callable[[Settings, Output, Any], Any] = _make_access_log
    transfer_limits: TransferLimits = Factory(TransferLimits)
    far_limits: FarLimits = Factory(FarLimits)
    store_limits: StoreLimits = Factory(StoreLimits)
    account_limits: AccountLimits = Factory(AccountLimits)
    limit_times: LimitTimes = Factory(LimitTimes)
    scrub_limits: ScrubLimits = Factory(ScrubLimits)
    hold_interval: float = INTERVAL
    upstream_limits: UpstreamLimits = Factory(UpstreamLimits)
    resolver: Callable[[Any, RunInThread], IHostnameResolver] = _make_resolver
    transports: Transports = Factory(lambda: TRANSPORTS)
    store_health: Callable[[IReactorTime, Metrics], StoreHealth] = StoreHealth
    hangup: Callable[[Callable[..., object], Callable[[], None]], Any] = Hangup
    further_signals: Callable[..., AbstractContextManager[None]] = further_signals
    lock_steps: Callable[[StorageSettings, IReactorTime, RunInThread], list[Step]] = lock_steps
    store_socket: bool = True
    manager: Callable[[str | None], ServiceManager] = ServiceManager
