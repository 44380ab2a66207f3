"""Makes upstreams from settings: hosts with their connections and breakers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHostnameResolver

from oci_registry.config.catch_all import unlisted
from oci_registry.config.settings import CATCH_ALL, EgressSettings, HostSettings, UpstreamSettings
from oci_registry.metrics import HostMetrics, Metrics
from oci_registry.repeats import RepeatLog
from oci_registry.streams.breaker import Random
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream.agent import USER_AGENT, UpstreamHttp
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.connectivity import SharedBreakers
from oci_registry.upstream.group import HostGroup
from oci_registry.upstream.guard import Lookups
from oci_registry.upstream.host import Host
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.other_servers import OtherServers, SettingsOf
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.registry import RemoteRegistry
from oci_registry.upstream.reports import BreakerLog, HostReports
from oci_registry.upstream.session import Session


@frozen
class _Shared:
    """The state that all registries at one host share."""

    http: UpstreamHttp
    metrics: HostMetrics
    connectivity: Breakers


class Connector:
    """Makes upstreams. *settings_of* returns the settings of a host that another one redirects to."""

    def __init__(
        self,
        reactor: Any,
        resolver: IHostnameResolver,
        random: Random,
        egress: EgressSettings,
        metrics: Metrics,
        repeats: RepeatLog,
        reader: ManifestReader,
        settings_of: SettingsOf,
        limits: UpstreamLimits = UpstreamLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._random = random
        self._egress = egress
        self._metrics = metrics
        self._repeats = repeats
        self._reader = reader
        self._settings_of = settings_of
        self._limits = limits
        self._lookups = Lookups()

    def connect(self, settings: UpstreamSettings) -> RemoteRegistry:
        """Return the upstream for *settings*. Raises what `tls_policy` raises."""
        return self._connect(settings, {})

    def share(self, settings: UpstreamSettings) -> CatchAll:
        """Return what makes an upstream for any registry by these settings; raises as `connect` does."""
        named = [host for host in settings.hosts if host.host != CATCH_ALL]
        clients = [self._http_client(settings, host, {}) for host in named]
        shared = {
            host.name: self._share_host(settings, host, http)
            for host, http in zip(named, clients, strict=True)
        }
        return CatchAll(self, settings, shared)

    def _connect(self, settings: UpstreamSettings, shared: dict[str, _Shared]) -> RemoteRegistry:
        # Steps that may fail come before objects that are counted when they are made.
        clients = [self._http_client(settings, host, shared) for host in settings.hosts]
        hosts = [
            self._connect_host(settings, host, http, shared)
            for host, http in zip(settings.hosts, clients, strict=True)
        ]
        group = HostGroup(hosts, settings.response_timeout, self._reactor, self._random)
        return RemoteRegistry(settings, group, self._reader)

    def _http_client(
        self, settings: UpstreamSettings, host: HostSettings, shared: dict[str, _Shared]
    ) -> UpstreamHttp:
        if host.shared and host.name in shared:
            return shared[host.name].http.shared()
        return UpstreamHttp(
            self._reactor,
            host,
            guarded=host.guarded and not self._egress.allow_private,
            egress=self._egress,
            connect_timeout=settings.connect_timeout,
            resolver=self._resolver,
            lookups=self._lookups,
            user_agent=settings.user_agent or USER_AGENT,
        )

    def _connect_host(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        http: UpstreamHttp,
        shared: dict[str, _Shared],
    ) -> Host:
        metrics = self._metrics.host(settings.namespace, host.name)
        breakers = self._breakers(settings, host, metrics, shared)
        limit = RateLimit(self._reactor, metrics)
        others = OtherServers(host, http, self._reactor, breakers, self._limits, self._settings_of)
        reports = HostReports(settings, host, self._repeats, metrics)
        session = Session(settings, host, http, self._reactor, others, limit, reports)
        return Host(
            session, breakers, limit, settings.max_connections, settings.body_timeout, metrics
        )

    def _breakers(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        metrics: HostMetrics,
        shared: dict[str, _Shared],
    ) -> Breakers:
        make: Callable[..., Breakers] = Breakers
        if host.shared and host.name in shared:
            make = partial(SharedBreakers, connectivity=shared[host.name].connectivity)
        return make(
            host.name,
            self._reactor,
            self._random,
            metrics,
            BreakerLog(settings, host.name, self._repeats),
            alternatives=len(settings.hosts) > 1,
            limits=self._limits,
        )

    def _share_host(
        self, settings: UpstreamSettings, host: HostSettings, http: UpstreamHttp
    ) -> _Shared:
        metrics = self._metrics.host(settings.namespace, host.name)
        return _Shared(http, metrics, self._breakers(settings, host, metrics, {}))


class CatchAll:
    """Makes the upstreams of registries without an entry of their own, all at the same hosts.

    They share connections to these hosts, and the breakers of connections. Limits, negative entries
    and all other breakers belong to one registry.
    """

    def __init__(
        self, connector: Connector, settings: UpstreamSettings, shared: dict[str, _Shared]
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._shared = shared

    def connect(self, namespace: str) -> RemoteRegistry:
        """Return the upstream for a registry. It must be closed before this is."""
        return self._connector._connect(unlisted(namespace, self._settings), self._shared)

    def close(self) -> Deferred[None]:
        """Close idle connections to the hosts; requests in flight continue."""
        for host in self._shared.values():
            host.metrics.retire()
        closing = gatherResults([host.http.close() for host in self._shared.values()])
        return closing.addCallback(lambda _: None)
