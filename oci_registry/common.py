"""Objects that most parts of a daemon need: settings, reactor, metrics, logs and threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from oci_registry.config.settings import S3Settings, Settings
from oci_registry.events import EventLog
from oci_registry.log_output import Output
from oci_registry.logs import AccessLog
from oci_registry.makers import Makers, Pool, Sizes
from oci_registry.metrics import Metrics
from oci_registry.repeats import RepeatLog
from oci_registry.streams.steps import Pause, pauses


class Pools:
    """The thread pools of a daemon. *make* makes one, as `Makers.pool` does."""

    _log = Logger()

    def __init__(self, make: Callable[[Any, str, int], Pool], reactor: Any) -> None:
        self._make = make
        self._reactor = reactor
        self._pools: dict[str, Pool] = {}

    def add(self, name: str, threads: int) -> Pool:
        """Make a pool that is started and stopped with the others."""
        self._pools[name] = self._make(self._reactor, name, threads)
        return self._pools[name]

    def start(self) -> None:
        """Start all threads."""
        for pool in self._pools.values():
            pool.start()

    def stop(self) -> None:
        """Stop all threads except those that hang: in the store, or waiting for a name server."""
        hanging = [name for name, pool in self._pools.items() if not pool.stop()]
        if hanging:
            self._log.warn(
                "threads still hang in their work, and end with the process: {pools}",
                pools=", ".join(hanging),
            )


@frozen
class Common:
    """The objects that most parts of a daemon need.

    *log_output*: the output of the access log. *sizes*: those of *pools*. *pause*: pauses in long work.
    """

    settings: Settings
    reactor: Any
    makers: Makers
    metrics: Metrics
    log_output: Output
    access_log: AccessLog
    repeats: RepeatLog
    events: EventLog
    pools: Pools
    sizes: Sizes
    pause: Pause


def make_common(settings: Settings, reactor: Any, makers: Makers, log_output: Output) -> Common:
    """Make the objects that most parts need."""
    sizes = Sizes()
    if isinstance(settings.storage, S3Settings):
        sizes = Sizes.for_connections(settings.storage.connections)
    return Common(
        settings,
        reactor,
        makers,
        Metrics(upstream.namespace for upstream in settings.upstreams),
        log_output,
        makers.access_log(settings, log_output, reactor),
        RepeatLog(Logger("oci_registry.upstream"), reactor),
        EventLog(reactor, reactor.callFromThread),
        Pools(makers.pool, reactor),
        sizes,
        pauses(reactor),
    )
