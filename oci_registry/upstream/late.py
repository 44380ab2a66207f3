"""Upstreams that are made when they are first asked.

Most of the code that talks to registries, and the TLS library, is not needed before a miss. It is imported
in a thread then. With hundreds of upstreams a reload makes none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from oci_registry.config.catch_all import unlisted
from oci_registry.config.settings import CATCH_ALL, HostSettings, UpstreamSettings
from oci_registry.metrics import HostMetrics, Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.streams.garbage import import_for_good
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.interfaces import (
    BUSY,
    FREE,
    Page,
    Referrers,
    Spare,
    Upstream,
    UpstreamBlob,
)
from oci_registry.upstream.offline import OfflineUpstream

if TYPE_CHECKING:
    from oci_registry.upstream.connecting import CatchAll, Connector

Make = Callable[["Connector"], Upstream]


class LateConnector:
    """Makes upstreams without a `Connector`, which is made when the first of them is asked.

    *make* imports and returns it; *in_thread* runs that. Upstreams with certificate files are made at
    once, because the files may be unusable. *offline*: every upstream is offline, whatever its settings
    say.
    """

    def __init__(
        self,
        make: Callable[[], Connector],
        in_thread: RunInThread,
        metrics: Metrics,
        *,
        offline: bool = False,
    ) -> None:
        self._offline = offline
        self._make = make
        self._in_thread = in_thread
        self._metrics = metrics
        self._connector: Connector | None = None

    def now(self) -> Connector:
        """Return the connector, made now if need be."""
        if self._connector is None:
            self._connector = self._make()
        return self._connector

    async def get(self) -> Connector:
        """Return the connector; what it needs is imported in a thread."""
        if self._connector is None:
            # If no thread can be started, it is imported here.
            with suppress(RuntimeError):
                await self._in_thread(import_connector)
        return self.now()

    def is_offline(self, settings: UpstreamSettings) -> bool:
        """Whether an upstream with these settings is never asked."""
        return self._offline or settings.offline

    def connect(self, settings: UpstreamSettings) -> Upstream:
        """Return the upstream for *settings*. Raises what `tls_policy` raises."""
        if self.is_offline(settings):
            return OfflineUpstream(settings)
        upstream = self.late(settings, lambda connector: connector.connect(settings))
        if any(map(_has_files, settings.hosts)):
            try:
                upstream.make(self.now())
            except BaseException:
                upstream.close()
                raise
        return upstream

    def share(self, settings: UpstreamSettings) -> LateCatchAll:
        """Return what makes an upstream for any registry by these settings; raises as `connect` does."""
        shared = LateCatchAll(self, settings)
        if any(map(_has_files, settings.hosts)):
            try:
                shared.make(self.now())
            except BaseException:
                shared.close()
                raise
        return shared

    def late(self, settings: UpstreamSettings, make: Make) -> LateUpstream:
        """Return an upstream for *settings* that is made by *make*."""
        return LateUpstream(settings, self.unused(settings, settings.hosts), make, self.get)

    def unused(
        self, settings: UpstreamSettings, hosts: Iterable[HostSettings]
    ) -> list[HostMetrics]:
        """Export the hosts as available, until they are made and export their own state."""
        unused = [self._metrics.host(settings.namespace, host.name) for host in hosts]
        for host in unused:
            host.available(True)
        return unused


def import_connector() -> None:
    """Import the modules that talk to registries. Takes a fifth of a second."""
    import_for_good("oci_registry.upstream.connecting")


def _has_files(host: HostSettings) -> bool:
    return host.ca_file is not None or host.client_cert_file is not None


def _retire(unused: list[HostMetrics]) -> None:
    while unused:
        unused.pop().retire()


class LateUpstream:
    """An `interfaces.Upstream` that is made when it is first asked."""

    def __init__(
        self,
        settings: UpstreamSettings,
        unused: list[HostMetrics],
        make: Make,
        connector: Callable[[], Awaitable[Connector]],
    ) -> None:
        self.namespace = settings.namespace
        self.settings = settings
        self._unused = unused
        self._make = make
        self._connector = connector
        self._upstream: Upstream | None = None
        self._closed = False

    def make(self, connector: Connector) -> Upstream:
        """Make it, unless it is made already."""
        if self._upstream is None:
            self._upstream = self._make(connector)
            _retire(self._unused)
            if self._closed:
                # It has been replaced, and is used by an older request: no connection may remain.
                self._upstream.close()
        return self._upstream

    async def _made(self) -> Upstream:
        return self._upstream or self.make(await self._connector())

    @property
    def max_age(self) -> float:
        """The max age of tags in seconds; longer while little is left of a host's rate limit."""
        if self._upstream is None:
            return self.settings.manifest_invalidation_time
        return self._upstream.max_age

    def spare(self, repository: str, *, blob: bool, under_way: int = 0) -> Spare:
        """Return whether a manifest, or a *blob*, may be requested that no client waits for."""
        if self._upstream is None:
            # The first request makes it.
            return BUSY if under_way else FREE
        return self._upstream.spare(repository, blob=blob, under_way=under_way)

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a manifest whose bytes have been verified."""
        return await (await self._made()).manifest(repository, reference, patient=patient)

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest that upstream says a tag has (HEAD), None if it does not say."""
        return await (await self._made()).manifest_digest(repository, tag)

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> UpstreamBlob:
        """Begin to download a blob, from none of the hosts *excluded*."""
        return await (await self._made()).blob(repository, digest, size, excluded=excluded)

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> UpstreamBlob:
        """Begin to download the bytes from *start* to *stop* of a blob."""
        return await (await self._made()).part(repository, digest, start, stop)

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        """Ask these hosts last for *digest* for a while: they have sent wrong bytes."""
        if self._upstream is not None:
            self._upstream.quarantine(digest, hosts)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return a blob's size in bytes (HEAD), None if upstream does not say."""
        return await (await self._made()).blob_size(repository, digest)

    async def tags(
        self,
        repository: str,
        n: int | None,
        last: str | None,
        query: str | None = None,
        *,
        wait: bool = False,
    ) -> Page:
        """Return tags of a repository, in upstream's order."""
        return await (await self._made()).tags(repository, n, last, query, wait=wait)

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return the referrers of a manifest; none if upstream has no such lists."""
        return await (await self._made()).referrers(repository, digest)

    def health(self) -> tuple[HostHealth, ...]:
        """Return how each host is doing; all are available until the first is asked."""
        if self._upstream is not None:
            return self._upstream.health()
        return tuple(HostHealth(host.name, used=False) for host in self.settings.hosts)

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""
        self._closed = True
        _retire(self._unused)
        return succeed(None) if self._upstream is None else self._upstream.close()


class LateCatchAll:
    """A `table.CatchAll` whose connections are made when one of its upstreams is first asked."""

    def __init__(self, connector: LateConnector, settings: UpstreamSettings) -> None:
        self._connector = connector
        self._settings = settings
        named = [host for host in settings.hosts if host.host != CATCH_ALL]
        self._unused = connector.unused(settings, named)
        self._made: CatchAll | None = None
        self._closed = False

    def make(self, connector: Connector) -> CatchAll:
        """Make it, unless it is made already."""
        if self._made is None:
            self._made = connector.share(self._settings)
            _retire(self._unused)
            if self._closed:
                self._made.close()
        return self._made

    def connect(self, namespace: str) -> Upstream:
        """Return the upstream for a registry, which is to be closed before this."""
        settings = unlisted(namespace, self._settings)
        if self._connector.is_offline(settings):
            return OfflineUpstream(settings)
        return self._connector.late(
            settings,
            lambda connector: self.make(connector).connect(namespace),
        )

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""
        self._closed = True
        _retire(self._unused)
        return succeed(None) if self._made is None else self._made.close()
