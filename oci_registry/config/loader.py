"""Flags over environment over defaults, everything checked, all problems told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oci_registry.config.credentials import (
    apply_credentials,
    parse_credentials,
    warn_of_exposure,
)
from oci_registry.config.egress import load_egress
from oci_registry.config.files import read_file
from oci_registry.config.findings import Findings
from oci_registry.config.listen import explain, parse_listen
from oci_registry.config.names import parse_namespace
from oci_registry.config.options import Flags, OptionReader
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    ConfigError,
    Credentials,
    Settings,
    UpstreamSettings,
)
from oci_registry.config.storages import load_storage
from oci_registry.config.upstreams import load_upstreams
from oci_registry.spec.durations import parse_duration
from oci_registry.spec.reference import looks_like_host

LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
LOG_FORMATS = ("text", "json")
UPSTREAMS = ("any", "configured")
DEFAULT_LISTEN = "0.0.0.0:80"
DEFAULT_NAMESPACE = "docker.io"
DEFAULT_GRACE = 30.0


class _Loader(OptionReader):
    """Reads one option after the other and keeps what is wrong."""

    def grace(self) -> float:
        """Return ``--shutdown-grace`` in seconds."""
        given = self.given("shutdown-grace", "SHUTDOWN_GRACE")
        if given is None:
            return DEFAULT_GRACE
        try:
            return parse_duration(given[1])
        except ValueError as error:
            self.findings.problem(given[0], error)
            return DEFAULT_GRACE

    def listen(self, check: Callable[[str], None]) -> tuple[str, ...]:
        """Return the endpoints to listen at; *check* raises for one that cannot be made."""
        flagged = self._flags.get("listen")
        places: list[tuple[str, str]] = []
        if isinstance(flagged, list) and flagged:
            places = [("--listen", str(place)) for place in flagged]
            if self._flags.get("port") is not None:
                self.findings.problem("--port", "cannot be given together with --listen")
        elif self._flags.get("port") is not None:
            places = [("--port", f"0.0.0.0:{self._flags['port']}")]
        elif self.environ.get("LISTEN", "").strip():
            places = [("LISTEN", place) for place in self.environ["LISTEN"].split()]
        elif self.environ.get("PORT", "").strip():
            places = [("PORT", f"0.0.0.0:{self.environ['PORT'].strip()}")]
        endpoints: list[str] = []
        for source, place in places or [("--listen", DEFAULT_LISTEN)]:
            try:
                endpoint = parse_listen(place)
                check(endpoint)
            except Exception as error:
                # Anything may come out of the parsers of endpoints, which are plugins.
                self.findings.problem(source, f"{place[:80]!a}: {explain(error)}")
            else:
                endpoints.append(endpoint)
        return tuple(endpoints)

    def default_namespace(self) -> str | None:
        """Return the registry that is meant when a client names none; None if that is unclear."""
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
                f"are one option and differ: {' and '.join(found)}",
            )
            return None
        return next(iter(found), DEFAULT_NAMESPACE)

    def upstreams(self, *, allow_dynamic: bool) -> tuple[UpstreamSettings, ...]:
        """Return the configured upstreams with their credentials."""
        given = self.given("upstream-config-file", "UPSTREAM_CONFIG_FILE")
        upstreams: tuple[UpstreamSettings, ...] = BUILTIN_UPSTREAMS
        if given is not None:
            upstreams = load_upstreams(given[1], self.findings)
        for source, credentials in self._credentials():
            upstreams = apply_credentials(
                upstreams, credentials, source, self.findings, allow_dynamic=allow_dynamic
            )
        warn_of_exposure(upstreams, self.findings)
        return upstreams

    def _credentials(self) -> list[tuple[str, dict[str, Credentials]]]:
        """Return the credentials given beside the file, and where."""
        text = self._flags.get("upstream-credentials")
        path = self._flags.get("upstream-credentials-file")
        variable = self.environ.get("UPSTREAM_CREDENTIALS", "")
        document: str | bytes
        if text is not None and path is not None:
            self.findings.problem(
                "--upstream-credentials", "cannot be given with --upstream-credentials-file"
            )
        if text is not None:
            source, document = "--upstream-credentials", str(text)
            self.findings.warning(
                source,
                "the credentials are visible in the process list: use --upstream-credentials-file",
            )
        elif path is not None:
            # Who takes the one flag for the other gives us the secrets as the name of a file.
            shown = "" if "{" in str(path) else f" {path}"
            source = f"--upstream-credentials-file{shown}"
            try:
                content = read_file(str(path))
            except ValueError as error:
                self.findings.problem(source, error)
                return []
            document = content.data
            if content.exposed:
                self.findings.warning(
                    source,
                    f"is open to others than its owner (mode {content.mode:04o}): chmod 600",
                )
        elif variable.strip():
            source, document = "UPSTREAM_CREDENTIALS", variable
        else:
            return []
        return [(source, parse_credentials(document, source, self.findings))]


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
    upstreams = loader.upstreams(allow_dynamic=allow_dynamic)
    # Without them nothing can be said about the default: one slip shall not be told as two.
    unread = bool(findings.problems)
    default_namespace = loader.default_namespace()
    configured = {upstream.namespace for upstream in upstreams}
    if default_namespace is not None and default_namespace not in configured and not unread:
        if not allow_dynamic:
            findings.problem(
                "--default-namespace",
                f"{default_namespace} is not configured, and --upstreams is 'configured'",
            )
        elif not looks_like_host(default_namespace):
            findings.problem(
                "--default-namespace",
                f"{default_namespace} is neither configured nor a registry host",
            )
    checking = loader.switch("check-cache-digest", "CHECK_CACHE_DIGEST")
    settings = Settings(
        listen=loader.listen(check_endpoint),
        storage=load_storage(storage, environ, findings, checking),
        default_namespace=default_namespace or DEFAULT_NAMESPACE,
        upstreams=upstreams,
        allow_dynamic_upstreams=allow_dynamic,
        egress=load_egress(loader, allow_dynamic=allow_dynamic),
        check_cache_digest=checking is not None,
        log_level=loader.choice("log-level", "LOG_LEVEL", LOG_LEVELS) or "info",
        log_format=loader.choice("log-format", "LOG_FORMAT", LOG_FORMATS) or "text",
        shutdown_grace=loader.grace(),
        warnings=tuple(findings.warnings),
    )
    if findings.problems:
        raise ConfigError(findings.problems)
    return settings
