"""Reads all options: flags precede variables, which precede defaults. Reports all problems together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from oci_registry.config.admin import NONE, load_token
from oci_registry.config.catch_all import catch_all_of
from oci_registry.config.egress import load_egress
from oci_registry.config.findings import Findings
from oci_registry.config.listen import (
    default_place,
    explain,
    parse_listen,
    same_place,
    split_places,
)
from oci_registry.config.names import parse_namespace
from oci_registry.config.options import Flags, OptionReader, one_of
from oci_registry.config.settings import (
    SMALLEST_LIMIT,
    ConfigError,
    CredentialsSource,
    S3Settings,
    Settings,
    StorageSettings,
    UpstreamSources,
)
from oci_registry.config.sources import check_default, pinned, read_upstreams
from oci_registry.config.storages import load_storage
from oci_registry.config.workers import parse_workers
from oci_registry.spec.durations import parse_duration
from oci_registry.spec.sizes import Size, parse_rate, parse_size

LOG_LEVELS = ("debug", "info", "warn", "error", "critical", "off")
# Synonyms that other programs use.
LOG_LEVEL_SYNONYMS = {"trace": "debug", "warning": "warn"}
LOG_FORMATS = ("text", "json")
ACCESS_LOGS = ("combined", "json", "off")
UPSTREAMS = ("any", "configured")
DEFAULT_NAMESPACE = "docker.io"
#: Settings with one option each.
_OPTIONS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "log_level": one_of(LOG_LEVELS, LOG_LEVEL_SYNONYMS),
        "log_format": one_of(LOG_FORMATS),
        "access_log": one_of(ACCESS_LOGS),
        "shutdown_grace": parse_duration,
        "workers": parse_workers,
        "max_size": parse_size,
        "min_free": parse_size,
        "scrub_interval": parse_duration,
        "scrub_rate": parse_rate,
    }
)


class _Loader(OptionReader):
    """Reads the options and collects problems."""

    def listen(self, check: Callable[[str], None]) -> tuple[str, ...]:
        """Return the endpoints to listen at; *check* raises for one that cannot be made."""
        places = self._places("listen")
        if self.flagged("port"):
            if self.raw("listen"):
                self.findings.problem("--port", "cannot be given together with --listen")
            else:
                places = [("--port", f"0.0.0.0:{self.raw('port')}")]
        elif not places:
            places = [default_place(self.environ)]
        found = (self._endpoint(source, place, check) for source, place in places)
        return tuple(endpoint for endpoint in found if endpoint is not None)

    def admin_listen(
        self, check: Callable[[str], None], taken: Sequence[str]
    ) -> tuple[tuple[str, ...], bool]:
        """Return the admin endpoints, none of which may be among *taken*, and whether there is a socket
        in the directory of the store besides.
        """
        endpoints: list[str] = []
        socket = True
        for source, place in self._places("admin-listen"):
            if place.strip().lower() == NONE:
                socket = False
                continue
            endpoint = self._endpoint(source, place, check)
            if endpoint is None:
                continue
            if any(same_place(endpoint, other) for other in taken):
                self.findings.problem(
                    source, f"{place[:80]!a} is already used by --listen: choose another place"
                )
            endpoints.append(endpoint)
        return tuple(endpoints), socket

    def _places(self, flag: str) -> list[tuple[str, str]]:
        """Return every address that was given, each with its source."""
        places = self.raw(flag)
        if not isinstance(places, list) or not places:
            places = split_places(self.environ.get(self.variable_of(flag), ""))
        return [(self.source(flag), str(place)) for place in places]

    def _endpoint(self, source: str, place: str, check: Callable[[str], None]) -> str | None:
        try:
            endpoint = parse_listen(place)
            check(endpoint)
        except Exception as error:
            # The parsers of endpoints are plugins, which may raise anything.
            self.findings.problem(source, f"{place[:80]!a}: {explain(error)}")
            return None
        return endpoint

    def default_namespace(self) -> str:
        """Return the registry to use when a client names none."""
        names = ("default-namespace", "default-upstream-namespace")
        found: dict[str, str] = {}
        for name in [name for name in names if self.flagged(name)] or names:
            namespace = self.read(name, parse_namespace)
            if namespace is not None:
                found.setdefault(namespace, self.source(name))
        if len(found) > 1:
            self.findings.problem(
                " and ".join(found.values()),
                f"are the same option with different values: {' and '.join(found)}",
            )
        return next(iter(found), DEFAULT_NAMESPACE)

    def sources(self) -> UpstreamSources:
        """Return the files that configure the upstreams."""
        return UpstreamSources(self.given("upstream-config-file"), self._credentials())

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
            # If the wrong one of the two flags is used, the secrets are given as the name of a file.
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

    *flags*: the values on the command line by the names of the flags, without dashes; *storage*: the
    subcommand and its flags. *check_endpoint* raises if an endpoint cannot be made.
    """
    findings = Findings()
    loader = _Loader(flags, environ, findings)
    allow_dynamic = loader.read("upstreams", one_of(UPSTREAMS)) != "configured"
    sources = loader.sources()
    upstreams = read_upstreams(sources, findings, allow_dynamic=allow_dynamic)
    default_namespace = loader.default_namespace()
    # Without valid upstreams, the default cannot be checked: one mistake is reported once.
    if not findings.problems:
        check_default(default_namespace, upstreams, findings, allow_dynamic=allow_dynamic)
    loader.ignored("RUST_LOG", f"set LOG_LEVEL to one of {', '.join(LOG_LEVELS)}")
    checking = loader.switch("check-cache-digest")
    listen = loader.listen(check_endpoint)
    admin_listen, admin_socket = loader.admin_listen(check_endpoint, listen)
    token_file, token = load_token(loader, admin_listen)
    settings = Settings(
        listen=listen,
        admin_listen=admin_listen,
        admin_socket=admin_socket,
        admin_token_file=token_file,
        admin_token=token,
        storage=load_storage(storage, environ, findings),
        default_namespace=default_namespace,
        upstreams=upstreams,
        allow_dynamic_upstreams=allow_dynamic,
        egress=load_egress(
            loader, allow_dynamic=allow_dynamic or catch_all_of(upstreams) is not None
        ),
        check_cache_digest=checking,
        plain_http=loader.switch("plain-http"),
        **loader.read_all(_OPTIONS),
        warnings=tuple(findings.warnings),
        sources=pinned(sources),
        offline=loader.switch("offline"),
    )
    if checking and isinstance(settings.storage, S3Settings) and settings.storage.redirect:
        loader.problem(
            "check-cache-digest",
            "cannot be combined with --redirect: clients that are redirected to the bucket get bytes "
            "that are not verified",
        )
    for flag, size in (("max-size", settings.max_size), ("min-free", settings.min_free)):
        if size is not None:
            _check_limit(loader, flag, size, settings.storage)
    if findings.problems:
        raise ConfigError(findings.problems)
    return settings


def _check_limit(loader: _Loader, flag: str, size: Size, storage: StorageSettings) -> None:
    """Report problems of a limit of the store."""
    if isinstance(storage, S3Settings) and flag == "min-free":
        loader.problem(
            flag, "cannot be used with s3, where free space is not known: use --max-size"
        )
    elif isinstance(storage, S3Settings) and size.share is not None:
        loader.problem(flag, f"{size.text} cannot be used with s3: a bucket has no size to share")
    elif flag == "max-size" and size.share is None and size.bytes < SMALLEST_LIMIT:
        loader.problem(flag, f"{size.text} is too small: at least 16MiB")
    elif flag == "min-free" and size.share is not None and size.share >= 1:
        loader.problem(flag, "100% would leave nothing for the store")
