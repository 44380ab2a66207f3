"""The options of the storage in a bucket."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from oci_registry.config.credentials import EXPOSED
from oci_registry.config.files import check_certificates, check_directory, in_time, read_secret
from oci_registry.config.names import parse_url
from oci_registry.config.options import OptionReader, one_of
from oci_registry.config.proxies import parse_proxy
from oci_registry.config.settings import DIRECT, FROM_ENVIRONMENT, ProxySettings, S3Settings
from oci_registry.spec.buckets import is_host_name, parse_bucket, parse_prefix
from oci_registry.spec.errors import system_reason
from oci_registry.spec.urls import Url

ADDRESSING = ("path", "virtual", "auto")
MIN_CONNECTIONS = 4
MAX_CONNECTIONS = 1024
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SECRET_FLAGS = ("secret-key", "secret-key-file")
_MAX_KEY = 1024
# Large files belong there rather than in /tmp, which is in memory on many systems.
_BIG_TEMPORARY = "/var/tmp"  # noqa: S108 - the name in it is checked before it is used
_SPOOL = "oci-registry-spool"


def load_s3(options: OptionReader) -> S3Settings:
    """Return the settings of a storage in a bucket; errors become problems."""
    if find_spec("boto3") is None:
        options.findings.problem(
            "s3", "needs boto3, which is not installed: pip install 'oci-registry[s3]'"
        )
    if not options.is_given("bucket"):
        options.findings.problem("s3", "--bucket or S3_BUCKET is required")
    # Unlike other flags, this one is useful when it is empty: it overrides a variable.
    aws = options.flagged("host") and not str(options.raw("host")).strip()
    endpoint = None if aws else options.read("host", parse_url)
    access_key, secret_key = _credentials(options)
    redirect, ranges = options.switch("redirect"), options.switch("redirect-ranges")
    for flag, given in (
        ("redirect-ranges", ranges),
        ("redirect-host", options.is_given("redirect-host")),
    ):
        if given and not redirect:
            options.problem(flag, "requires --redirect or S3_REDIRECT")
    # Few servers except AWS support the bucket as a part of the host, or are reached through the proxy
    # of the environment.
    by_server: dict[str, Any] = {
        "addressing": "auto" if endpoint is None else "path",
        "proxy": FROM_ENVIRONMENT if endpoint is None else DIRECT,
    }
    settings = S3Settings(
        **{"bucket": "", **by_server, **options.read_all(_OPTIONS)},
        endpoint=endpoint,
        access_key=access_key,
        secret_key=secret_key,
        spool=_spool(options),
        redirect=redirect,
        redirect_ranges=ranges,
    )
    _check(options, settings)
    return settings


def _check(options: OptionReader, settings: S3Settings) -> None:
    """Add problems for options that contradict each other."""
    endpoint, bucket, proxy = settings.endpoint, settings.bucket, settings.proxy
    if endpoint is not None and endpoint.startswith("http:"):
        if not _is_loopback(endpoint):
            options.warning("host", "uses plain http: objects and credentials are sent unencrypted")
        if settings.ca_file is not None:
            options.warning("ca-file", "has no effect: the server is reached over http")
    if settings.addressing == "virtual" and bucket and not is_host_name(bucket):
        options.findings.problem(
            "s3",
            f"the bucket {bucket} cannot be part of a host name, as addressing 'virtual' requires: it "
            "has upper-case letters or underscores",
        )
    if isinstance(proxy, ProxySettings) and proxy.credentials is not None:
        if options.flagged("proxy"):
            options.warning(
                "proxy", "the credentials are visible in the process list: use S3_PROXY"
            )
        if proxy.exposed:
            options.warning("proxy", EXPOSED)


def _credentials(options: OptionReader) -> tuple[str | None, str | None]:
    """Return access key and secret key; both are None if the SDK is to find them."""
    access = options.given("access-key")
    where, secret = _secret(options)
    if access is not None and secret is None and not options.flagged(*_SECRET_FLAGS):
        options.problem(
            "access-key", "requires --secret-key-file, S3_SECRET_KEY_FILE or S3_SECRET_KEY"
        )
    if secret is not None and access is None and not options.flagged("access-key"):
        options.problem(where, "requires --access-key or S3_ACCESS_KEY")
    for flag, key in (("access-key", access), (where, secret)):
        if key is not None and not _is_key(key):
            options.problem(
                flag,
                f"is not a key: at most {_MAX_KEY} printable ASCII characters are allowed, "
                "and no spaces",
            )
    return access, secret


def _secret(options: OptionReader) -> tuple[str, str | None]:
    """Return the source of the secret key, and the key, which is empty after a problem."""
    flagged = options.flagged(*_SECRET_FLAGS)
    text, file = (
        options.flag(flag) if flagged else options.in_environment(flag) for flag in _SECRET_FLAGS
    )
    if text is not None and file is not None:
        other = options.source("secret-key-file")
        options.problem("secret-key", f"cannot be given together with {other}")
    if text is not None and flagged:
        options.warning(
            "secret-key",
            "the secret key is visible in the process list while the daemon starts, and stays in the "
            "shell's history: use --secret-key-file or S3_SECRET_KEY",
        )
    if text is not None or file is None:
        return "secret-key", text
    try:
        secret, content = read_secret(file, str.strip)
    except ValueError as error:
        # If the wrong one of the two flags is used, the secret is given as a name, so it is not repeated.
        options.problem("secret-key-file", f"the file {error}")
        return "secret-key-file", ""
    options.warn_if_exposed("secret-key-file", "the file", content)
    return "secret-key-file", secret


def _spool(options: OptionReader) -> str:
    """Return the directory for blobs while they are downloaded."""
    given = options.given("spool")
    path = default_spool(options.environ) if given is None else os.path.abspath(given)
    try:
        in_time(check_directory, path)
        if given is None:
            _check_ours(path)
    except ValueError as error:
        options.problem("spool", error)
    return path


def _parse_proxy(text: str) -> ProxySettings | str:
    if text.lower() in (DIRECT, FROM_ENVIRONMENT):
        return text.lower()
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {DIRECT}, or {FROM_ENVIRONMENT}") from None


def _parse_region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ValueError(
            f"{text[:40]!a} is not a region: at most 64 letters, digits, '-' and '_' are allowed"
        )
    return text


def _parse_certificates(name: str) -> str:
    path = os.path.abspath(name)
    try:
        check_certificates(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    return path


def _parse_connections(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or not MIN_CONNECTIONS <= int(text) <= MAX_CONNECTIONS:
        raise ValueError(
            f"must be a number from {MIN_CONNECTIONS} to {MAX_CONNECTIONS}, not {text[:40]!a}"
        )
    return int(text)


_OPTIONS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "bucket": parse_bucket,
        "region": _parse_region,
        "prefix": parse_prefix,
        "addressing": one_of(ADDRESSING),
        "ca_file": _parse_certificates,
        "redirect_endpoint": parse_url,
        "connections": _parse_connections,
        "proxy": _parse_proxy,
    }
)
"""Settings with one option each."""


def default_spool(environ: Mapping[str, str], big_temporary: str = _BIG_TEMPORARY) -> str:
    """Return the default directory: below ``TMPDIR``, else in *big_temporary*."""
    parent = environ.get("TMPDIR", "").strip()
    if not parent and os.access(big_temporary, os.W_OK | os.X_OK):
        parent = big_temporary
    return os.path.join(os.path.abspath(parent or tempfile.gettempdir()), _SPOOL)


def _check_ours(path: str) -> None:
    """Raise `ValueError` if another user owns, or can write to, this directory, whose name is predictable."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path}: {system_reason(error)}") from None
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o022:
        raise ValueError(
            f"{path} is a symbolic link, or another user owns it or can write to it: choose another directory"
        )


def _is_key(text: str) -> bool:
    return len(text) <= _MAX_KEY and text.isascii() and text.isprintable() and " " not in text


def _is_loopback(url: str) -> bool:
    name = Url.parse(url).host
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
