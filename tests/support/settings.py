"""Settings of an upstream, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import fields

from oci_registry.config.settings import HostSettings, UpstreamSettings

_OF_THE_HOST = {field.name for field in fields(HostSettings)}


def upstream_settings(
    namespace: str, host: str | None = None, *, hosts: Sequence[str] = (), **options: Any
) -> UpstreamSettings:
    """Return an upstream at one host or at several; *options* are the hosts' and its own."""
    of_the_host = {key: value for key, value in options.items() if key in _OF_THE_HOST}
    others = {key: value for key, value in options.items() if key not in _OF_THE_HOST}
    names = hosts if host is None else (host, *hosts)
    return UpstreamSettings(
        namespace, tuple(HostSettings(name, **of_the_host) for name in names), **others
    )
