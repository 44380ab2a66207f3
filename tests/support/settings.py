"""Settings of an upstream with one host, in one call."""

from __future__ import annotations

from typing import Any

from attrs import fields

from oci_registry.config.settings import HostSettings, UpstreamSettings

_OF_THE_HOST = {field.name for field in fields(HostSettings)}


def upstream_settings(namespace: str, host: str, **options: Any) -> UpstreamSettings:
    """Return an upstream at one host; *options* are the host's and the upstream's own."""
    of_the_host = {key: value for key, value in options.items() if key in _OF_THE_HOST}
    others = {key: value for key, value in options.items() if key not in _OF_THE_HOST}
    return UpstreamSettings(namespace, (HostSettings(host, **of_the_host),), **others)
