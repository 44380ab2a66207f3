"""Reads all options: flags override variables, which override defaults; reports all problems together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from oci_registry.config.catch_all import catch_all_of
from oci_registry.config.egress import load_egress
from oci_registry.config.findings import Findings
from oci_registry.config.listen import explain, parse_listen, same_place, split_places
from oci_registry.config.names import parse_namespace
from oci_registry.config.options import Flags, OptionReader
from oci_registry.config.settings import (
    ConfigError,
    CredentialsSource,
    Settings,
    UpstreamSources,
)
from oci_registry.config.sources import check_default, pinned, read_upstreams
from oci_registry.config.storages import load_storage
from oci_registry.spec.durations import parse_duration

LOG_LEVELS = ("debug", "info", "warn", "error", "critical", "off")
# The words of other programs for the same.
LOG_LEVEL_SYNONYMS = {"trace": "debug", "warning": "warn"}
LOG_FORMATS = ("text", "json")
ACCESS_LOGS = ("combined", "json", "off")
UPSTREAMS = ("any", "configured")
DEFAULT_LISTEN = "0.0.0.0:80"
DEFAULT_NAMESPACE = "docker.io"
DEFAULT_GRACE = 30.0


class _Loader(OptionReader):
    """Reads the options and collects problems."""

    def listen(self, check: Callable[[str], None]) -> tuple[str, ...]:
        """Return the endpoints to listen at; *check* raises for one that cannot be made."""
        places = self._places("listen", "LISTEN")
        if self.flagged("port"):
            if self.raw("listen"):
                self.findings.problem("--port", "cannot be given together with --listen")
            else:
                places = [("--port", f"0.0.0.0:{self.raw('port')}")]
        elif not places:
            port = self.variable("PORT")
            places = [
                ("--listen", DEFAULT_LISTEN) if port is None else ("PORT", f"0.0.0.0:{port[1]}")
            ]
        found = (self._endpoint(source, place, check) for source, place in places)
        return tuple(endpoint for endpoint in found if endpoint is not None)

    def admin_listen(self, check: Callable[[str], None], taken: Sequence[str]) -> tuple[str, ...]:
        """Return the admin endpoints, none of which may be among *taken*."""
        endpoints: list[str] = []
        for source, place in self._places("admin-listen", "ADMIN_LISTEN"):
            endpoint = self._endpoint(source, place, check)
            if endpoint is None:
                continue
            if any(same_place(endpoint, other) for other in taken):
                self.findings.problem(
                    source, f"{place[:80]!a} is already used by --listen: choose another place"
                )
            endpoints.append(endpoint)
        return tuple(endpoints)

    def _places(self, flag: str, variable: str) -> list[tuple[str, str]]:
        """Return every place that was given, each with where it was."""
        flagged = self.raw(flag)
        if isinstance(flagged, list) and flagged:
            return [(f"--{flag}", str(place)) for place in flagged]
        return [(variable, place) for place in split_places(self.environ.get(variable, ""))]

    def _endpoint(self, source: str, place: str, check: Callable[[str], None]) -> str | None:
        try:
            endpoint = parse_listen(place)
            check(endpoint)
        except Exception as error:
            # Anything may come out of the parsers of endpoints, which are plugins.
            self.findings.problem(source, f"{place[:80]!a}: {explain(error)}")
            return None
        return endpoint

    def default_namespace(self) -> str | None:
        """Return the registry to use when a client names none; None after a problem."""
        both = [
            self.given("default-namespace", "DEFAULT_NAMESPACE"),
            self.given("default-upstream-namespace", "DEFAULT_UPSTREAM_NAMESPACE"),
        ]
        names = [given for given in both if given is not None]
        flags = [given for given in names if given[0].startswith("--")]
        found: dict[str, str] = {}
        for source, text in flags or names:
            try:
                found.setdefault(parse_namespace(text), source)
            except ValueError as error:
                self.findings.problem(source, error)
                return None
        if len(found) > 1:
            self.findings.problem(
                " and ".join(found.values()),
                f"are the same option with different values: {' and '.join(found)}",
            )
            return None
        return next(iter(found), DEFAULT_NAMESPACE)

    def sources(self) -> UpstreamSources:
        """Return the files that configure the upstreams."""
        given = self.given("upstream-config-file", "UPSTREAM_CONFIG_FILE")
        return UpstreamSources(None if given is None else given[1], self._credentials())

    def _credentials(self) -> CredentialsSource | None:
        """Return the source of credentials outside the upstream file."""
        text = self.raw("upstream-credentials")
        path = self.raw("upstream-credentials-file")
        variable = self.environ.get("UPSTREAM_CREDENTIALS", "")
        if text is not None and path is not None:
            self.findings.problem(
                "--upstream-credentials", "cannot be given with --upstream-credentials-file"
            )
        if text is not None:
            source = "--upstream-credentials"
            self.findings.warning(
                source,
                "the credentials are visible in the process list: use --upstream-credentials-file",
            )
            return CredentialsSource(source, str(text))
        if path is not None:
            # With the wrong one of the two flags the secrets are given as the name of a file.
            shown = "" if "{" in str(path) else f" {path}"
            return CredentialsSource(f"--upstream-credentials-file{shown}", file=str(path))
        if variable.strip():
            return CredentialsSource("UPSTREAM_CREDENTIALS", variable)
        return None


def load_settings(
    flags: Flags,
    storage: tuple[str, Flags] | None,
    environ: Mapping[str, str],
    check_endpoint: Callable[[str], None] = lambda _: None,
) -> Settings:
    """Return the settings. Raises `ConfigError` with every problem there is.

    *flags* holds what was given on the command line, by the flags' names without dashes; *storage*
    the subcommand and its flags. *check_endpoint* raises when an endpoint cannot be made.
    """
    findings = Findings()
    loader = _Loader(flags, environ, findings)
    allow_dynamic = loader.choice("upstreams", "UPSTREAMS", UPSTREAMS) != "configured"
    sources = loader.sources()
    upstreams = read_upstreams(sources, findings, allow_dynamic=allow_dynamic)
    # Without them nothing can be said about the default: one mistake is reported once.
    unread = bool(findings.problems)
    default_namespace = loader.default_namespace()
    if default_namespace is not None and not unread:
        check_default(default_namespace, upstreams, findings, allow_dynamic=allow_dynamic)
    loader.ignored("RUST_LOG", f"set LOG_LEVEL to one of {', '.join(LOG_LEVELS)}")
    checking = loader.switch("check-cache-digest", "CHECK_CACHE_DIGEST")
    listen = loader.listen(check_endpoint)
    settings = Settings(
        listen=listen,
        admin_listen=loader.admin_listen(check_endpoint, listen),
        storage=load_storage(storage, environ, findings, checking),
        default_namespace=default_namespace or DEFAULT_NAMESPACE,
        upstreams=upstreams,
        allow_dynamic_upstreams=allow_dynamic,
        egress=load_egress(
            loader, allow_dynamic=allow_dynamic or catch_all_of(upstreams) is not None
        ),
        check_cache_digest=checking is not None,
        log_level=loader.choice("log-level", "LOG_LEVEL", LOG_LEVELS, LOG_LEVEL_SYNONYMS) or "info",
        log_format=loader.choice("log-format", "LOG_FORMAT", LOG_FORMATS) or "text",
        access_log=loader.choice("access-log", "ACCESS_LOG", ACCESS_LOGS),
        shutdown_grace=loader.parsed(
            "shutdown-grace", "SHUTDOWN_GRACE", parse_duration, DEFAULT_GRACE
        ),
        warnings=tuple(findings.warnings),
        sources=pinned(sources),
    )
    if findings.problems:
        raise ConfigError(findings.problems)
    return settings
