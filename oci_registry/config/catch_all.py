"""The entry for every registry without its own entry, and how it applies to one of them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from oci_registry.config.names import fold_alias
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    CATCH_ALL,
    UPPER_CASE_REGISTRIES,
    HostSettings,
    UpstreamSettings,
)


def catch_all_of(upstreams: Iterable[UpstreamSettings]) -> UpstreamSettings | None:
    """The entry for every registry without its own entry, or None."""
    return next((upstream for upstream in upstreams if upstream.namespace == CATCH_ALL), None)


def unlisted(namespace: str, catch_all: UpstreamSettings | None) -> UpstreamSettings:
    """Return the upstream of a registry without its own entry, made from ``catch_all`` if there is one.

    ``namespace`` must have passed `oci_registry.spec.reference.parse_host`. Requests to a host of
    ``catch_all`` have the parameter ``ns``. Its host ``*`` becomes the registry's own host, which
    may have public addresses only, unless it is built in.
    """
    builtin = next((known for known in BUILTIN_UPSTREAMS if known.namespace == namespace), None)
    plain = builtin or UpstreamSettings.dynamic(namespace)
    if catch_all is None:
        return plain
    return evolve(
        catch_all,
        namespace=namespace,
        hosts=tuple(_hosts(catch_all, plain)),
        upper_case_names=catch_all.upper_case_names or namespace in UPPER_CASE_REGISTRIES,
        configured=plain.configured,
    )


def _hosts(catch_all: UpstreamSettings, plain: UpstreamSettings) -> Iterable[HostSettings]:
    (own,) = plain.hosts
    known = any(_is_itself(plain.namespace, host) for host in catch_all.hosts)
    for host in catch_all.hosts:
        if host.host != CATCH_ALL:
            yield evolve(host, shared=True)
        elif not known:
            yield evolve(own, proxy=host.proxy)


def _is_itself(namespace: str, host: HostSettings) -> bool:
    """Return whether a host is the registry of that name, which is then not listed twice."""
    return not host.path and fold_alias(host.host) == namespace
