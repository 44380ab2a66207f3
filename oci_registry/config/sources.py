"""Reads the configured registries, at start and on reload."""

from __future__ import annotations

import os
from collections.abc import Sequence

from attrs import evolve, frozen

from oci_registry.config.catch_all import catch_all_of
from oci_registry.config.credentials import (
    apply_credentials,
    parse_credentials,
    warn_of_exposure,
)
from oci_registry.config.files import read_file
from oci_registry.config.findings import Findings
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    ConfigError,
    CredentialsSource,
    Settings,
    UpstreamSettings,
    UpstreamSources,
)
from oci_registry.spec.reference import looks_like_host


def pinned(sources: UpstreamSources) -> UpstreamSources:
    """Return the same files, independent of the working directory."""
    file, credentials = sources.file, sources.credentials
    if file is not None:
        file = os.path.abspath(file)
    if credentials is not None and credentials.file is not None:
        credentials = evolve(credentials, file=os.path.abspath(credentials.file))
    return UpstreamSources(file, credentials)


def read_upstreams(
    sources: UpstreamSources, findings: Findings, *, allow_dynamic: bool
) -> tuple[UpstreamSettings, ...]:
    """Return the configured upstreams with their credentials; errors become problems."""
    upstreams: tuple[UpstreamSettings, ...] = BUILTIN_UPSTREAMS
    if sources.file is not None:
        # This imports the YAML parser, which is not needed without a file.
        from oci_registry.config.upstreams import load_upstreams  # noqa: PLC0415

        upstreams = load_upstreams(sources.file, findings)
    if sources.credentials is not None:
        upstreams = _with_credentials(
            upstreams, sources.credentials, findings, allow_dynamic=allow_dynamic
        )
    warn_of_exposure(upstreams, findings)
    return upstreams


def _with_credentials(
    upstreams: Sequence[UpstreamSettings],
    given: CredentialsSource,
    findings: Findings,
    *,
    allow_dynamic: bool,
) -> tuple[UpstreamSettings, ...]:
    document: str | bytes = given.text
    if given.file is not None:
        try:
            content = read_file(given.file)
        except ValueError as error:
            findings.problem(given.source, error)
            return tuple(upstreams)
        document = content.data
        if content.exposed:
            findings.warning(given.source, f"{content.exposure}: chmod 600")
    credentials = parse_credentials(document, given.source, findings)
    return apply_credentials(
        upstreams, credentials, given.source, findings, allow_dynamic=allow_dynamic
    )


def check_default(
    namespace: str,
    upstreams: Sequence[UpstreamSettings],
    findings: Findings,
    *,
    allow_dynamic: bool,
) -> None:
    """Add a problem if the default namespace has no upstream."""
    if namespace in {upstream.namespace for upstream in upstreams}:
        return
    if not allow_dynamic and catch_all_of(upstreams) is None:
        findings.problem(
            "--default-namespace",
            f"{namespace} is not configured, and --upstreams is 'configured'",
        )
    elif not looks_like_host(namespace):
        findings.problem(
            "--default-namespace", f"{namespace} is neither configured nor a registry host"
        )


@frozen
class Reread:
    """The current content of the upstream files, and warnings for the operator."""

    upstreams: tuple[UpstreamSettings, ...]
    warnings: tuple[str, ...]


def reread_upstreams(settings: Settings) -> Reread:
    """Return the upstreams as they are configured now; all other *settings* stay the same.

    Blocks. Raises `ConfigError` with all problems.
    """
    findings = Findings()
    allow_dynamic = settings.allow_dynamic_upstreams
    upstreams = read_upstreams(settings.sources, findings, allow_dynamic=allow_dynamic)
    if not findings.problems:
        default = settings.default_namespace
        check_default(default, upstreams, findings, allow_dynamic=allow_dynamic)
        if settings.upstreams and not upstreams and settings.sources.file is not None:
            # Somebody may be writing it, or the disk was full.
            problem = "contains no upstream; to have none, restart the daemon"
            findings.problem(settings.sources.file, problem)
    if findings.problems:
        raise ConfigError(findings.problems)
    return Reread(upstreams, tuple(findings.warnings))
