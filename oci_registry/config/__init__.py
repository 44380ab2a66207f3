"""Flags, environment and files in, one frozen `Settings` out."""

from __future__ import annotations

from oci_registry.config.settings import (
    ALIASES,
    BUILTIN_UPSTREAMS,
    ConfigError,
    Credentials,
    CredentialsSource,
    EgressSettings,
    FilesystemSettings,
    HostSettings,
    ProxySettings,
    S3Settings,
    Settings,
    StorageSettings,
    UpstreamSettings,
    UpstreamSources,
)

__all__ = [
    "ALIASES",
    "BUILTIN_UPSTREAMS",
    "ConfigError",
    "Credentials",
    "CredentialsSource",
    "EgressSettings",
    "FilesystemSettings",
    "HostSettings",
    "ProxySettings",
    "S3Settings",
    "Settings",
    "StorageSettings",
    "UpstreamSettings",
    "UpstreamSources",
]
