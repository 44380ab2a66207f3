"""The rules of the upstream file, for commands that act as a daemon would, or explain that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from oci_registry.commands.options import CommandParser
from oci_registry.commands.problems import UsageProblem
from oci_registry.commands.sources import Asked
from oci_registry.config.catch_all import catch_all_of, unlisted
from oci_registry.config.findings import Findings
from oci_registry.config.settings import CATCH_ALL, UpstreamSettings, UpstreamSources
from oci_registry.config.sources import read_upstreams
from oci_registry.management.rules import Rules
from oci_registry.spec.digest import Digest


def add_rules(parser: CommandParser) -> None:
    """Add the option for the upstream file."""
    parser.add_argument(
        "--upstream-config-file",
        metavar="FILE",
        help="the upstream file of the daemon (UPSTREAM_CONFIG_FILE; default: docker.io)",
    )


def rules_of(asked: Asked, environ: Mapping[str, str]) -> Rules:
    """Return the rules of a daemon with this upstream file; raise `UsageProblem` if it is invalid."""
    file = asked.options.upstream_config_file or environ.get("UPSTREAM_CONFIG_FILE", "").strip()
    findings = Findings()
    sources = UpstreamSources(file or None, None)
    upstreams = read_upstreams(sources, findings, allow_dynamic=True)
    if findings.problems:
        raise UsageProblem(*findings.problems)
    named = {one.namespace: one for one in upstreams if one.namespace != CATCH_ALL}
    others = catch_all_of(upstreams)

    def of(registry: str) -> UpstreamSettings:
        return named.get(registry) or unlisted(registry, others)

    def lifetime(registry: str) -> float:
        upstream = of(registry)
        return inf if upstream.offline else upstream.blob_invalidation_time

    def pinned(registry: str, _: Digest, tags: Sequence[tuple[str, str]]) -> bool:
        patterns = of(registry).pin
        return any(pattern.matches(*tag) for tag in tags for pattern in patterns)

    def max_age(registry: str) -> float:
        return of(registry).manifest_invalidation_time

    def newest_tags(registry: str) -> int:
        return of(registry).keep_newest_tags

    return Rules(lifetime=lifetime, max_age=max_age, pinned=pinned, newest_tags=newest_tags)
