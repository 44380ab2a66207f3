"""SIGHUP: the upstream files are read again and applied."""

from __future__ import annotations

import math
import signal
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import FrameType

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.account.newest import NewestTags
from oci_registry.config.settings import (
    CATCH_ALL,
    DEFAULT_INVALIDATION_TIME,
    ConfigError,
    Settings,
    UpstreamSettings,
)
from oci_registry.config.sources import Reread, reread_upstreams
from oci_registry.eviction.limit import StoreLimit
from oci_registry.eviction.pinned import PinnedImages, PinPatterns
from oci_registry.eviction.sweep import Lifetimes, Sweep
from oci_registry.metrics import Metrics
from oci_registry.notify import ServiceManager
from oci_registry.spec.sizes import Size
from oci_registry.streams.garbage import collecting_seldom, keep_after_collecting
from oci_registry.streams.steps import Pause, no_pause
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.table import Changes, UpstreamTable

_log = Logger()
_PLAIN = ("tcp:", "tcp6:", "unix:", "systemd:")
"""The endpoints without TLS."""


class Hangup:
    """Calls *react* in the reactor for every SIGHUP while it is installed.

    *from_thread*: the reactor's ``callFromThread``, which may be used in a signal handler.
    """

    def __init__(
        self, from_thread: Callable[[Callable[[], None]], object], react: Callable[[], None]
    ) -> None:
        self._from_thread = from_thread
        self._react = react
        self._before: object = None

    def install(self) -> None:
        """Install the handler of the signal. Only the main thread can do this."""
        self._before = signal.signal(signal.SIGHUP, self._handle)

    def remove(self) -> None:
        """Restore the previous handler of the signal, unless it has been replaced since."""
        if signal.getsignal(signal.SIGHUP) == self._handle:
            # None: the previous handler was not set by Python, so it cannot be restored.
            before = signal.SIG_DFL if self._before is None else self._before
            signal.signal(signal.SIGHUP, before)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._from_thread(self._react)


class Following:
    """All objects that depend on the configured upstreams."""

    def __init__(
        self,
        table: UpstreamTable,
        metrics: Metrics,
        follow: Callable[[Lifetimes], None],
        lifetimes: Callable[[tuple[UpstreamSettings, ...]], Lifetimes],
        pause: Pause = no_pause,
        also: Callable[[tuple[UpstreamSettings, ...]], None] = lambda _: None,
    ) -> None:
        self._also = also
        self._pause = pause
        self._table = table
        self._metrics = metrics
        self._follow = follow
        self._lifetimes = lifetimes

    async def configure(self, upstreams: tuple[UpstreamSettings, ...]) -> Changes:
        """Apply these upstreams, which are made in steps. If it raises, nothing has changed."""
        before = self._metrics.configured
        # First, because hosts get their labels when they are made.
        self._metrics.configure(upstream.namespace for upstream in upstreams)
        try:
            changes = await self._table.reconfigure(upstreams, self._pause)
        except BaseException:
            self._metrics.configure(before)
            raise
        self._follow(self._lifetimes(upstreams))
        self._also(upstreams)
        return changes


def lifetimes_of(
    upstreams: tuple[UpstreamSettings, ...],
    default: float = DEFAULT_INVALIDATION_TIME,
    *,
    offline: bool = False,
) -> Lifetimes:
    """Return the lifetimes of unused objects of these upstreams.

    For all others, it is that of the entry for all registries, or *default* if there is none. Objects
    of an upstream that is offline (with *offline*, of all) have no limit, since they could not be
    fetched again.
    """
    lifetimes = {
        u.namespace: math.inf if offline or u.offline else u.blob_invalidation_time
        for u in upstreams
    }
    others = lifetimes.pop(CATCH_ALL, math.inf if offline else default)
    return Lifetimes(lifetimes, others)


def pins_of(upstreams: tuple[UpstreamSettings, ...]) -> PinPatterns:
    """Return the patterns of pinned images of these upstreams."""
    patterns = {u.namespace: u.pin for u in upstreams}
    others = patterns.pop(CATCH_ALL, ())
    return PinPatterns(patterns, others)


def newest_of(upstreams: tuple[UpstreamSettings, ...]) -> NewestTags:
    """Return how many of the newest tags of each repository are kept for these upstreams."""
    counts = {u.namespace: u.keep_newest_tags for u in upstreams}
    others = counts.pop(CATCH_ALL, 0)
    return NewestTags(counts, others)


def sizes_of(upstreams: tuple[UpstreamSettings, ...]) -> dict[str, Size]:
    """Return the maximum size in bytes of the images of each upstream that has a limit."""
    return {u.namespace: u.max_size for u in upstreams if u.max_size is not None}


class Reloader:
    """Reloads the upstreams on request, one reload at a time.

    *read* returns the current content of the files, off the reactor; it fails with `ConfigError`.
    *configure* applies it, or raises and changes nothing. After any failure, the old configuration
    remains. *keep*: excludes the new settings from garbage collection.
    """

    _log = Logger()

    def __init__(
        self,
        read: Callable[[], Deferred[Reread]],
        configure: Callable[[tuple[UpstreamSettings, ...]], Awaitable[Changes]],
        metrics: Metrics,
        manager: ServiceManager,
        keep: Callable[[], None] = keep_after_collecting,
    ) -> None:
        self._read = read
        self._configure = configure
        self._metrics = metrics
        self._manager = manager
        self._keep_settings = keep
        self._running = False
        self._again = False
        self._stopped = False

    def reload(self) -> None:
        """Read the files again, now or after a running reload, which may have missed the latest changes."""
        if self._stopped:
            self._log.info("reload skipped: the daemon is stopping")
        elif self._running:
            self._again = True
        else:
            self._running = True
            Deferred.fromCoroutine(self._run())

    def stop(self) -> None:
        """Stop reloading; the result of a running reload is ignored."""
        self._stopped = True

    async def _run(self) -> None:
        try:
            while True:
                self._again = False
                self._manager.reloading()
                # What is read and replaced is many objects, and a full collection would go over all of them.
                with collecting_seldom():
                    await self._once()
                if self._stopped:
                    return
                self._manager.ready()
                if not self._again:
                    return
        finally:
            self._running = False

    async def _once(self) -> None:
        try:
            reread = await self._read()
            if self._stopped:
                return
            changes = await self._configure(reread.upstreams)
        except ConfigError as error:
            self._keep(error.problems)
        except (OSError, ValueError) as error:
            # A certificate file that has changed again since it was checked.
            self._keep([str(error)])
        except Exception:
            self._metrics.error("reload")
            self._log.failure("reload failed with an internal error, the upstreams are unchanged")
        else:
            self._report(changes, reread.warnings)
            if changes != Changes():
                self._keep_settings()

    def _keep(self, problems: Iterable[str]) -> None:
        self._metrics.error("reload")
        for problem in problems:
            self._log.error(
                "reload failed, the upstreams are unchanged: {problem}", problem=problem
            )

    def _report(self, changes: Changes, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            self._log.warn("{text}", text=warning)
        said = [
            f"{what} {', '.join(names)}"
            for what, names in (
                ("added", changes.added),
                ("changed", changes.changed),
                ("removed", changes.removed),
            )
            if names
        ]
        self._log.info(
            "reloaded the upstreams: {changes}",
            changes="; ".join(said) or "nothing has changed",
        )


def make_reloader(
    settings: Settings,
    table: UpstreamTable,
    sweep: Sweep,
    pinned: PinnedImages,
    limit: StoreLimit | None,
    metrics: Metrics,
    manager: ServiceManager,
    reading: RunInThread,
    pause: Pause,
) -> Reloader:
    """Make the reloader of a daemon. *reading*: the thread in which files are read."""
    lifetimes = partial(lifetimes_of, offline=settings.offline)

    def follow(upstreams: tuple[UpstreamSettings, ...]) -> None:
        pinned.follow(pins_of(upstreams))
        sizes = sizes_of(upstreams)
        if limit is not None:
            limit.upstreams.follow(sizes)
            limit.keep_newest(newest_of(upstreams))
        elif sizes:
            _log.warn(
                "max_size of {namespaces} needs a restart: the bucket had no limit so far",
                namespaces=", ".join(sizes),
            )

    def reread() -> Deferred[Reread]:
        return reading(reread_upstreams, settings)

    following = Following(table, metrics, sweep.follow, lifetimes, pause, follow)
    # Clients' connections with TLS end in cycles: those of the moment would never be freed.
    listeners = (*settings.listen, *settings.admin_listen)
    plain = all(listener.startswith(_PLAIN) for listener in listeners)
    keep = keep_after_collecting if plain else _keep_nothing
    return Reloader(reread, following.configure, metrics, manager, keep)


def _keep_nothing() -> None:
    """Leave the new settings to the garbage collector."""
