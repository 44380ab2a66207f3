"""The upstreams, and which of them a request is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import frozen
from cachetools import Cache, LRUCache
from twisted.internet.defer import Deferred

from oci_registry.config.catch_all import unlisted
from oci_registry.config.names import fold_alias
from oci_registry.config.settings import CATCH_ALL, HostSettings, UpstreamSettings
from oci_registry.spec.errors import NameUnknown
from oci_registry.spec.reference import looks_like_host, parse_repository
from oci_registry.spec.routes import Name
from oci_registry.spec.urls import Url
from oci_registry.streams.steps import Pause, at_once, no_pause
from oci_registry.upstream.interfaces import Upstream

MAX_DYNAMIC = 256
"""The maximum number of upstreams named by clients; the least recently used one is evicted."""
AT_ONCE = 50
"""Upstreams that are made in one step."""
_DOCKER_HUB = "docker.io"


@frozen
class Target:
    """The upstream of a request, and the repository there."""

    upstream: Upstream
    repository: str


class CatchAll(Protocol):
    """The entry for every registry without its own, which makes the upstream of one of them."""

    def connect(self, namespace: str) -> Upstream:
        """Return the upstream for a registry, which is to be closed before this."""

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""


@frozen
class Changes:
    """The configured upstreams that have changed, by namespace; ``*`` is all registries without an entry."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class _Dynamic(LRUCache[str, Upstream]):
    """Upstreams that clients have named; one that is evicted is closed."""

    def popitem(self) -> tuple[str, Upstream]:
        """Close the least recently used one, and return it."""
        namespace, upstream = super().popitem()
        upstream.close()
        return namespace, upstream


class UpstreamTable:
    """All upstreams: the configured ones, and those that clients have named.

    *connect* makes an upstream from settings. *share* makes those of registries without an entry,
    if there is an entry for them (``*``); then every registry is mirrored. Without it, and with
    *dynamic* false, only configured ones are.
    """

    def __init__(
        self,
        configured: Iterable[UpstreamSettings],
        connect: Callable[[UpstreamSettings], Upstream],
        share: Callable[[UpstreamSettings], CatchAll],
        *,
        default_namespace: str,
        dynamic: bool,
    ) -> None:
        self._connect = connect
        self._share = share
        self._default = default_namespace
        self._dynamic_allowed = dynamic
        self._settings: dict[str, UpstreamSettings] = {}
        self._catch_all: CatchAll | None = None
        self._configured: dict[str, Upstream] = {}
        self._dynamic = _Dynamic(MAX_DYNAMIC)
        self.generation = 0
        """How often the upstreams were configured: until it changes, names mean the same registries."""
        self.configure(configured)

    def resolve(self, name: Name, ns: str | None) -> Target:
        """Return the target of a request.

        The registry is the segment before ``/v2/`` if there is one; else ``ns``; else the first
        component of the name, if it is a configured namespace or looks like a registry host; else
        the default. Raises `NameInvalid` for a name that no repository there can have, and
        `NameUnknown` for a registry that is not mirrored.
        """
        if name.before is not None:
            host, repository = self._without_registry(self._before(name.before), name)
        elif ns is not None:
            host, repository = self._without_registry(fold_alias(ns), name)
        elif name.host is not None:
            host, repository = fold_alias(name.host), name.rest
        elif name.first is not None and name.first in self._configured:
            host, repository = name.first, name.after_first
        else:
            host, repository = fold_alias(self._default), name.rest
        has_upper_case = repository != repository.lower()
        allowed = has_upper_case and self._settings_of(host).upper_case_names
        parse_repository(repository, upper_case=allowed)
        if host == _DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return Target(self.upstream(host), repository)

    def _before(self, text: str) -> str:
        """Return the registry before ``/v2/``, which is configured or looks like a host."""
        host = fold_alias(text)
        if host not in self._configured and not looks_like_host(text):
            raise NameUnknown(f"there is no registry {host}; the registry is below /v2/")
        return host

    def _without_registry(self, host: str, name: Name) -> tuple[str, str]:
        """Return the registry and the repository of a name that comes with *host*.

        Clients with a path in a mirror's address send the registry in both places, and those that
        append ``/v2`` to that path send another ``v2``. Only the registry that is meant, or an
        alias of it, is removed; anything else is a part of the repository.
        """
        if name.host is not None:
            first, rest = fold_alias(name.host), name.rest
        else:
            first, rest = name.first or "", name.after_first
        if not rest or not self._same(first, host):
            return host, name.text
        head, slash, behind = rest.partition("/")
        return first, behind if head == "v2" and slash else rest

    def _same(self, first: str, host: str) -> bool:
        """Return whether *first* in a path means the registry *host*: its name or another name for it.

        A configured namespace that is not a host name is known to this daemon only: it means the
        registry at the same host. Two host names with the same host may be two registries, behind a
        mirror of both, and so may registries without an entry.
        """
        if first == host:
            return True
        configured = self._settings.get(first)
        if configured is None or looks_like_host(first):
            return False
        one, other = configured.hosts[0], self._settings_of(host).hosts[0]
        return not other.shared and (one.host, one.path, one.tls) == (
            other.host,
            other.path,
            other.tls,
        )

    def host_at(self, origin: str) -> HostSettings | None:
        """Return the settings of a configured host by its origin, None if there is none."""
        hosts = (host for settings in self._settings.values() for host in settings.hosts)
        return next((host for host in hosts if _origin(host) == origin), None)

    def _settings_of(self, host: str) -> UpstreamSettings:
        """Return the settings of a registry, None if it is not mirrored."""
        return self._settings.get(host) or unlisted(host, self._settings.get(CATCH_ALL))

    def upstream(self, host: str) -> Upstream:
        """Return the upstream of a source host; raise `NameUnknown` if it is not mirrored."""
        known = self._configured.get(host) or self._dynamic.get(host)
        if known is not None:
            return known
        if self._catch_all is not None:
            upstream = self._catch_all.connect(host)
        elif self._dynamic_allowed:
            upstream = self._connect(self._settings_of(host))
        else:
            raise NameUnknown(f"the registry {host} is not configured in this mirror")
        self._dynamic[host] = upstream
        return upstream

    @property
    def upstreams(self) -> list[Upstream]:
        """Return all upstreams: the configured ones, and those that clients have named lately."""
        return [*self._configured.values(), *self._dynamic.values()]

    def rate_limited(self) -> frozenset[str]:
        """Return the namespaces of upstreams whose first host has little left of its rate limit."""
        return frozenset(
            upstream.namespace
            for upstream in self.upstreams
            if any(host.low for host in upstream.health()[:1])
        )

    def known(self, host: str) -> Upstream | None:
        """Return the upstream of a source host if it exists; this does not count as a use of it."""
        if host in self._configured:
            return self._configured[host]
        return Cache.__getitem__(self._dynamic, host) if host in self._dynamic else None

    def mirrors(self, host: str) -> bool:
        """Whether requests for a source host are served."""
        return host in self._configured or self._catch_all is not None or self._dynamic_allowed

    def has(self, upstream: Upstream) -> bool:
        """Whether an upstream is still used for its source host; that counts as a use of it."""
        host = upstream.namespace
        return (self._configured.get(host) or self._dynamic.get(host)) is upstream

    def configure(self, configured: Iterable[UpstreamSettings]) -> Changes:
        """Replace the configured upstreams, and return the changes.

        Unchanged upstreams keep their state. The others are closed, and their running requests
        continue. If the entry for all registries has changed, all upstreams that clients have named
        are replaced too. If *connect* or *share* raises, nothing changes.
        """
        return at_once(self.reconfigure(configured, no_pause))

    async def reconfigure(self, configured: Iterable[UpstreamSettings], pause: Pause) -> Changes:
        """Do the same as `configure`, with pauses while upstreams are made; until then nothing changes.

        Must not be called again before it has ended.
        """
        settings = {s.namespace: s for s in configured}
        template = settings.get(CATCH_ALL)
        same = template == self._settings.get(CATCH_ALL)
        kept = {
            namespace: upstream
            for namespace, upstream in self._configured.items()
            if settings.get(namespace) == self._settings[namespace]
        }
        made: dict[str, Upstream] = {}
        try:
            for namespace, one in settings.items():
                if namespace not in kept and one is not template:
                    made[namespace] = self._connect(one)
                    if len(made) % AT_ONCE == 0:
                        await pause()
            catch_all = self._catch_all
            if not same:
                catch_all = None if template is None else self._share(template)
        except BaseException:
            _close(made.values())
            raise
        before, self._configured = self._configured, {**kept, **made}
        _close(upstream for namespace, upstream in before.items() if namespace not in kept)
        # An upstream that clients named is replaced by the configured one.
        named = [self._dynamic.pop(name, None) for name in (made if same else [*self._dynamic])]
        _close(upstream for upstream in named if upstream is not None)
        if self._catch_all is not None and not same:
            self._catch_all.close()
        self._catch_all = catch_all
        return self._replace(settings)

    def _replace(self, settings: dict[str, UpstreamSettings]) -> Changes:
        """Use these settings from now on, and return how they differ from the previous ones."""
        before, self._settings = self._settings, settings
        self.generation += 1
        return Changes(
            added=tuple(sorted(settings.keys() - before.keys())),
            changed=tuple(
                sorted(
                    name for name in settings if before.get(name, settings[name]) != settings[name]
                )
            ),
            removed=tuple(sorted(before.keys() - settings.keys())),
        )

    async def close(self) -> None:
        """Close the idle connections to all upstreams."""
        for upstream in (*self._configured.values(), *self._dynamic.values()):
            await upstream.close()
        if self._catch_all is not None:
            await self._catch_all.close()


def _close(upstreams: Iterable[Upstream]) -> None:
    """Close upstreams without waiting for their idle connections."""
    for upstream in upstreams:
        upstream.close()


def _origin(host: HostSettings) -> str:
    return Url.parse(host.url).origin
