"""The upstream file: a YAML list, one entry for each remote registry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from oci_registry.config.documents import Value, read_entries
from oci_registry.config.fields import (
    Fields,
    Reader,
    boolean,
    duration,
    items,
    number,
    text,
    timeout,
)
from oci_registry.config.files import read_file
from oci_registry.config.findings import Findings
from oci_registry.config.hosts import HOST_KEYS, holds_password, read_hosts
from oci_registry.config.min_age import min_age
from oci_registry.config.names import parse_namespace
from oci_registry.config.settings import (
    CATCH_ALL,
    SMALLEST_LIMIT,
    UPPER_CASE_REGISTRIES,
    UpstreamSettings,
)
from oci_registry.spec.image import HUB
from oci_registry.spec.patterns import ImagePattern, parse_pattern
from oci_registry.spec.sizes import Size, parse_bytes


def _user_agent(value: Value) -> str | None:
    if value.text == "":
        return None
    agent = text(value)
    if not (agent.isascii() and agent.isprintable()):
        # It is sent in a header unchanged.
        raise ValueError("must be printable ASCII on one line")
    return agent


def _pin(value: Value) -> tuple[ImagePattern, ...]:
    patterns = []
    for position, item in enumerate(items(value, MAX_PATTERNS), 1):
        if item.text is None:
            raise ValueError(f"item {position} must be text")
        try:
            patterns.append(parse_pattern(item.text.strip()))
        except ValueError as error:
            raise ValueError(f"item {position}: {error}") from None
    return tuple(patterns)


def _max_size(value: Value) -> Size:
    size = parse_bytes(text(value))
    if size.bytes < SMALLEST_LIMIT:
        raise ValueError(f"{size.text} is too small: at least 16MiB")
    return size


#: The maximum number of patterns of an entry.
MAX_PATTERNS = 200

#: The keys of an entry besides its namespace and its hosts: fields of `UpstreamSettings`.
OPTIONS: Mapping[str, Reader[Any]] = MappingProxyType(
    {
        "user_agent": _user_agent,
        "manifest_invalidation_time": duration,
        "stale_while_revalidate": duration,
        "stale_if_error": duration,
        "blob_invalidation_time": duration,
        "connect_timeout": timeout,
        "response_timeout": timeout,
        "body_timeout": timeout,
        "remember_not_found": duration,
        "remember_denied": duration,
        "trust_not_found": boolean,
        "retries": number(0, 100),
        "max_connections": number(2, 10_000),
        "upper_case_names": boolean,
        "offline": boolean,
        "prefetch": boolean,
        "rate_limit_reserve": number(0, 100),
        "min_age": min_age,
        "pin": _pin,
        "keep_newest_tags": number(0, 100),
        "max_size": _max_size,
    }
)

#: Every key an entry may have.
KEYS = ("namespace", "hosts", *HOST_KEYS, *OPTIONS)

# Clients such as containerd give up waiting for the headers of a response then.
_PATIENCE = 30.0


def load_upstreams(path: str, findings: Findings) -> tuple[UpstreamSettings, ...]:
    """Return the upstreams configured in the file at ``path``, in order.

    Files named in it are relative to its directory; passwords are read at once. Everything that is
    wrong becomes a problem that names file, entry, line and key. An entry with a problem may be
    left out.
    """
    try:
        content = read_file(path)
    except ValueError as error:
        findings.problem(path or "the upstream file", error)
        return ()
    known = len(findings.problems)
    entries = read_entries(content.data, path, findings)
    if not entries and len(findings.problems) == known:
        findings.warning(path, "contains no upstream")
    if content.exposed and any(holds_password(entry) for entry in entries):
        findings.warning(
            path,
            f"contains a password and {content.exposure}: use password_file, or chmod 600",
        )
    upstreams: dict[str, UpstreamSettings] = {}
    first: dict[str, int] = {}
    for entry in entries:
        fields = Fields(entry, path, findings, f"entry {entry.number}")
        upstream = _read_upstream(fields)
        if upstream is None:
            continue
        if upstream.namespace in upstreams:
            fields.problem(
                "namespace",
                f"{upstream.namespace} is configured twice, first in line "
                f"{first[upstream.namespace]} (names of one registry count as one)",
            )
            continue
        upstreams[upstream.namespace] = upstream
        first[upstream.namespace] = entry.line
    return tuple(upstreams.values())


def _read_upstream(fields: Fields) -> UpstreamSettings | None:
    """Return the upstream; ``None`` if its namespace or its hosts are unknown."""
    namespace = fields.required("namespace", _parse_namespace)
    if namespace is not None:
        fields.where += f" ({namespace})"
    fields.check_keys(KEYS)
    hosts = read_hosts(fields, KEYS, catch_all=namespace == CATCH_ALL)
    options = fields.read_all(OPTIONS)
    if options.get("response_timeout", 0.0) >= _PATIENCE:
        fields.warning("response_timeout", "clients such as containerd wait only 30s")
    if options.get("prefetch") and options.get("offline"):
        fields.warning("prefetch", "has no effect with offline: true")
    if namespace == CATCH_ALL and "max_size" in options:
        fields.problem(
            "max_size", "is not allowed with namespace '*': limit the store with --max-size"
        )
    if namespace is None or not hosts:
        return None
    if namespace == HUB and "pin" in options:
        options["pin"] = tuple(map(_below_library, options["pin"]))
    if not UPPER_CASE_REGISTRIES.isdisjoint({namespace, *(host.host for host in hosts)}):
        options.setdefault("upper_case_names", True)
    return UpstreamSettings(namespace, hosts, **options)


def _parse_namespace(name: str) -> str:
    return CATCH_ALL if name.strip() == CATCH_ALL else parse_namespace(name)


def _below_library(pattern: ImagePattern) -> ImagePattern:
    """Return the pattern of a repository of docker.io, where ``alpine`` is short for ``library/alpine``."""
    short = not {"/", "*"} & set(pattern.text.partition(":")[0])
    return parse_pattern(f"library/{pattern.text}") if short else pattern
