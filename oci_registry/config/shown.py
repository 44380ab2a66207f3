"""Settings as YAML, with the names of options and keys and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from attrs import asdict

from oci_registry.config.admin import NONE
from oci_registry.config.min_age import EVERY
from oci_registry.config.options import flag_of
from oci_registry.config.process_title import MASK
from oci_registry.config.settings import (
    CATCH_ALL,
    FROM_ENVIRONMENT,
    EgressSettings,
    HostSettings,
    MinAges,
    ProxySettings,
    S3Settings,
    Settings,
    StorageSettings,
    UpstreamSettings,
)
from oci_registry.config.upstreams import OPTIONS
from oci_registry.spec.durations import format_duration
from oci_registry.spec.sizes import Size


def show(settings: Settings) -> str:
    """Return the settings in effect, without those that have neither a value nor a default.

    Options have the names of their flags. ``upstream-config-file`` has the content that such a file
    would have, including credentials from elsewhere. Each secret is replaced by ``***``.
    """
    document = {
        "listen": list(settings.listen),
        "admin-listen": [*settings.admin_listen, *([] if settings.admin_socket else [NONE])],
        **_given({"admin-token-file": settings.admin_token_file}),
        "default-namespace": settings.default_namespace,
        "upstreams": "any" if settings.allow_dynamic_upstreams else "configured",
        "offline": settings.offline,
        "allow-private-upstreams": settings.egress.allow_private,
        "check-cache-digest": settings.check_cache_digest,
        "plain-http": settings.plain_http,
        "log-level": settings.log_level,
        "log-format": settings.log_format,
        "access-log": settings.access_log_in_effect,
        "shutdown-grace": format_duration(settings.shutdown_grace),
        "workers": settings.workers,
        **_given(
            {
                "max-size": settings.max_size and settings.max_size.text,
                "min-free": settings.min_free and settings.min_free.text,
            }
        ),
        "scrub-interval": format_duration(settings.scrub_interval),
        "scrub-rate": settings.scrub_rate.text,
        **_storage(settings.storage),
        "proxies": _proxies(settings.egress),
        "upstream-config-file": [_upstream(upstream) for upstream in settings.upstreams],
    }
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full, without YAML aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _masked(secret: object) -> str | None:
    return None if secret is None else MASK


def _storage(storage: StorageSettings) -> dict[str, Any]:
    if not isinstance(storage, S3Settings):
        return {"filesystem": {"root": storage.root}}
    values = asdict(storage, recurse=False) | {
        "secret_key": _masked(storage.secret_key),
        "proxy": _proxy(storage.proxy),
    }
    return {"s3": _given({flag_of(name): value for name, value in values.items()})}


def _proxies(egress: EgressSettings) -> dict[str, Any]:
    return _given(
        {
            "HTTPS_PROXY": _proxy(egress.https_proxy),
            "HTTP_PROXY": _proxy(egress.http_proxy),
            "NO_PROXY": ",".join(egress.no_proxy) or None,
        }
    )


def _proxy(proxy: ProxySettings | str | None) -> str | None:
    if not isinstance(proxy, ProxySettings):
        return proxy
    scheme = "https" if proxy.tls else "http"
    credentials = "" if proxy.credentials is None else f"{MASK}:{MASK}@"
    return f"{scheme}://{credentials}{proxy.authority}"


def _upstream(upstream: UpstreamSettings) -> dict[str, Any]:
    values = {name: getattr(upstream, name) for name in OPTIONS}
    options = {name: _option(value) for name, value in values.items()}
    options["min_age"] = _min_age(upstream.min_age)
    hosts = [_host(host) for host in upstream.hosts]
    return {"namespace": upstream.namespace, **_given(options), "hosts": hosts}


def _min_age(ages: MinAges) -> str | dict[str, str] | None:
    """Return the rules as they are written in the file."""
    if not ages.rules:
        return None
    shown = {rule.pattern.text: format_duration(rule.seconds) for rule in ages.rules}
    return shown[EVERY] if list(shown) == [EVERY] else shown


def _option(value: object) -> object:
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, Size):
        return value.text
    if isinstance(value, tuple):
        return [str(item) for item in value] or None
    return value


def _host(host: HostSettings) -> dict[str, Any]:
    fields = {
        "host": _location(host),
        "tls": host.tls,
        "accept_invalid_certs": host.accept_invalid_certs,
        "ca_file": host.ca_file,
        "client_cert_file": host.client_cert_file,
        "client_key_file": host.client_key_file,
        "username": host.credentials and host.credentials.username,
        "password": _masked(host.credentials),
        "token_servers": list(host.token_servers) or None,
        "proxy": None if host.proxy == FROM_ENVIRONMENT else _proxy(host.proxy),
    }
    if host.host == CATCH_ALL:
        # It has no other representation.
        fields = {key: fields[key] for key in ("host", "proxy")}
    return _given(fields)


def _location(host: HostSettings) -> str:
    """Return the location of a host as it is written in the file."""
    name, colon, port = host.host.partition(":")
    dot = "." if host.absolute else ""
    path = f"/{host.path}" if host.path else ""
    return f"{name}{dot}{colon}{port}{path}"
