"""The options of the storage in a bucket."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec

from oci_registry.config.files import check_certificates, check_directory, in_time, read_file
from oci_registry.config.findings import Findings
from oci_registry.config.names import parse_url
from oci_registry.config.options import OptionReader
from oci_registry.config.proxies import EXPOSED, parse_proxy
from oci_registry.config.settings import DIRECT, FROM_ENVIRONMENT, ProxySettings, S3Settings
from oci_registry.spec.buckets import is_host_name, parse_bucket, parse_prefix
from oci_registry.spec.errors import system_reason
from oci_registry.spec.urls import Url

ADDRESSING = ("path", "virtual", "auto")
DEFAULT_REGION = "us-east-1"
DEFAULT_CONNECTIONS = 32
MIN_CONNECTIONS = 4
MAX_CONNECTIONS = 1024
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SECRET_FLAGS = ("secret-key", "secret-key-file")
_MAX_KEY = 1024
# Big files belong there rather than into /tmp, which is memory on many systems.
_BIG_TEMPORARY = "/var/tmp"  # noqa: S108 - the name in it is checked before it is used
_SPOOL = "oci-registry-spool"


def load_s3(options: OptionReader) -> S3Settings:
    """The settings of a storage in a bucket; errors become problems."""
    if find_spec("boto3") is None:
        options.findings.problem(
            "s3", "needs boto3, which is not installed: pip install 'oci-registry[s3]'"
        )
    endpoint = _host(options)
    bucket = options.parsed("bucket", "S3_BUCKET", parse_bucket, "")
    if not options.source("bucket", "S3_BUCKET"):
        options.findings.problem("s3", "--bucket or S3_BUCKET is required")
    access_key, secret_key = _credentials(options)
    redirect = options.switch("redirect", "S3_REDIRECT")
    ranges = options.switch("redirect-ranges", "S3_REDIRECT_RANGES")
    for source in (ranges, options.source("redirect-host", "S3_REDIRECT_HOST")):
        if source and redirect is None:
            options.findings.problem(source, "requires --redirect or S3_REDIRECT")
    return S3Settings(
        bucket=bucket,
        endpoint=endpoint,
        access_key=access_key,
        secret_key=secret_key,
        region=options.parsed("region", "S3_REGION", _parse_region, DEFAULT_REGION),
        prefix=options.parsed("prefix", "S3_PREFIX", parse_prefix, ""),
        addressing=_addressing(options, bucket, endpoint),
        ca_file=_ca_file(options, endpoint),
        spool=_spool(options),
        redirect=redirect is not None,
        redirect_ranges=ranges is not None,
        redirect_endpoint=options.parsed("redirect-host", "S3_REDIRECT_HOST", parse_url, None),
        connections=options.parsed(
            "s3-connections", "S3_CONNECTIONS", _parse_connections, DEFAULT_CONNECTIONS
        ),
        proxy=_proxy(options, endpoint),
    )


def _host(options: OptionReader) -> str | None:
    """The server's URL; None for AWS."""
    if options.flagged("host") and not str(options.raw("host")).strip():
        # Unlike other flags this one has a use when empty: against a variable that is set.
        return None
    endpoint = options.parsed("host", "S3_HOST", parse_url, None)
    if endpoint is not None and endpoint.startswith("http:") and not _is_loopback(endpoint):
        options.findings.warning(
            options.source("host", "S3_HOST"),
            "uses plain http: objects and credentials are sent unencrypted",
        )
    return endpoint


def _proxy(options: OptionReader, endpoint: str | None) -> ProxySettings | str:
    """The proxy to the server: one that is named for it, and for AWS that of the environment."""
    default = FROM_ENVIRONMENT if endpoint is None else DIRECT
    proxy = options.parsed("proxy", "S3_PROXY", _parse_proxy, default)
    if isinstance(proxy, ProxySettings) and proxy.credentials is not None:
        source = options.source("proxy", "S3_PROXY")
        if options.flagged("proxy"):
            options.findings.warning(
                source, "the credentials are visible in the process list: use S3_PROXY"
            )
        if proxy.exposed:
            options.findings.warning(source, EXPOSED)
    return proxy


def _parse_proxy(text: str) -> ProxySettings | str:
    if text.lower() in (DIRECT, FROM_ENVIRONMENT):
        return text.lower()
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {DIRECT}, or {FROM_ENVIRONMENT}") from None


def _credentials(options: OptionReader) -> tuple[str | None, str | None]:
    """Access key and secret key; both None if the SDK has to find them."""
    findings = options.findings
    access = options.given("access-key", "S3_ACCESS_KEY")
    secret = _secret(options)
    if access is not None and secret is None and not options.flagged(*_SECRET_FLAGS):
        findings.problem(
            access[0],
            "requires --secret-key-file, S3_SECRET_KEY_FILE or S3_SECRET_KEY",
        )
    if secret is not None and access is None and not options.flagged("access-key"):
        findings.problem(secret[0], "requires --access-key or S3_ACCESS_KEY")
    for given in (access, secret):
        if given is not None and not _is_key(given[1]):
            findings.problem(
                given[0],
                f"is not a key: at most {_MAX_KEY} printable ASCII characters are allowed, "
                "and no spaces",
            )
    return (access and access[1], secret and secret[1])


def _secret(options: OptionReader) -> tuple[str, str] | None:
    flags = tuple(options.flag(flag) for flag in _SECRET_FLAGS)
    variables = (options.variable("S3_SECRET_KEY"), options.variable("S3_SECRET_KEY_FILE"))
    text, file = flags if options.flagged(*_SECRET_FLAGS) else variables
    if text is not None and file is not None:
        options.findings.problem(text[0], f"cannot be given together with {file[0]}")
    if flags[0] is not None:
        options.findings.warning(
            flags[0][0],
            "the secret key is visible in the process list while the daemon starts, and stays in the "
            "shell's history: use --secret-key-file or S3_SECRET_KEY",
        )
    if text is not None or file is None:
        return text
    return file[0], _read_secret(options.findings, *file)


def _read_secret(findings: Findings, source: str, path: str) -> str:
    # With the wrong one of the two flags the secret is given as a name: it is not repeated.
    try:
        content = read_file(path)
        secret = content.data.decode().strip()
    except UnicodeDecodeError:
        findings.problem(source, "the file is not UTF-8")
        return ""
    except ValueError as error:
        findings.problem(source, f"the file {error}")
        return ""
    if not secret:
        findings.problem(source, "the file is empty")
    if content.exposed:
        findings.warning(source, f"the file {content.exposure}: chmod 600")
    return secret


def _addressing(options: OptionReader, bucket: str, endpoint: str | None) -> str:
    """Where URLs name the bucket: few servers except AWS support it in the host name."""
    chosen = options.choice("addressing", "S3_ADDRESSING", ADDRESSING)
    if chosen == "virtual" and bucket and not is_host_name(bucket):
        options.findings.problem(
            "s3",
            f"the bucket {bucket} cannot be part of a host name, as addressing 'virtual' requires: it "
            "has upper-case letters or underscores",
        )
    return chosen or ("auto" if endpoint is None else "path")


def _ca_file(options: OptionReader, endpoint: str | None) -> str | None:
    """The file with the certificates to trust."""
    path = options.parsed("ca-file", "S3_CA_FILE", _parse_certificates, None)
    if path is not None and endpoint is not None and endpoint.startswith("http:"):
        source = options.source("ca-file", "S3_CA_FILE")
        options.findings.warning(source, "has no effect: the server is reached over http")
    return path


def _spool(options: OptionReader) -> str:
    """The directory for blobs that are not in the bucket yet."""
    given = options.given("spool", "S3_SPOOL")
    if given is None:
        source, path = "s3 --spool", default_spool(options.environ)
    else:
        source, path = given[0], os.path.abspath(given[1])
    try:
        in_time(check_directory, path)
        if given is None:
            _check_ours(path)
    except ValueError as error:
        options.findings.problem(source, error)
    return path


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


def default_spool(environ: Mapping[str, str], big_temporary: str = _BIG_TEMPORARY) -> str:
    """Return the spool that is used if none is named: below ``TMPDIR``, else in *big_temporary*."""
    parent = environ.get("TMPDIR", "").strip()
    if not parent and os.access(big_temporary, os.W_OK | os.X_OK):
        parent = big_temporary
    return os.path.join(os.path.abspath(parent or tempfile.gettempdir()), _SPOOL)


def _check_ours(path: str) -> None:
    """Raise `ValueError` if another user owns, or can write to, the directory with a predictable name."""
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
