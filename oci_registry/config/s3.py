"""The options of the storage in a bucket."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tempfile
from collections.abc import Mapping

from oci_registry.config.files import check_certificates, check_directory, read_file
from oci_registry.config.names import parse_url, split_port
from oci_registry.config.options import OptionReader
from oci_registry.config.settings import S3Settings
from oci_registry.spec.buckets import is_host_name, parse_bucket, parse_prefix

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
    """The settings of a storage in a bucket; what is wrong becomes a problem."""
    reader = _S3Reader(options)
    endpoint = reader.host()
    bucket = reader.bucket()
    access_key, secret_key = reader.credentials()
    redirect = options.switch("redirect", "S3_REDIRECT")
    return S3Settings(
        bucket=bucket,
        endpoint=endpoint,
        access_key=access_key,
        secret_key=secret_key,
        region=reader.region(),
        prefix=reader.prefix(),
        addressing=reader.addressing(bucket, endpoint),
        ca_file=reader.ca_file(endpoint),
        spool=reader.spool(),
        redirect=redirect is not None,
        redirect_ranges=reader.redirect_ranges(redirect),
        redirect_endpoint=reader.redirect_host(redirect),
        connections=reader.connections(),
    )


class _S3Reader:
    """Reads one option after the other and keeps what is wrong."""

    def __init__(self, options: OptionReader) -> None:
        self._options = options
        self._findings = options.findings

    def host(self) -> str | None:
        """The server's URL; None for AWS."""
        if self._flagged("host") and not str(self._options.raw("host")).strip():
            # Unlike other flags this one has a use when empty: against a variable that is set.
            return None
        given = self._options.given("host", "S3_HOST")
        if given is None:
            return None
        source, text = given
        try:
            endpoint = parse_url(text)
        except ValueError as error:
            self._findings.problem(source, error)
            return None
        if endpoint.startswith("http:") and not _is_loopback(endpoint):
            self._findings.warning(
                source,
                "is reached by http: neither objects nor credentials are safe from those on the way",
            )
        return endpoint

    def bucket(self) -> str:
        """The bucket; empty if there is none to use."""
        given = self._options.given("bucket", "S3_BUCKET")
        if given is None:
            if not self._flagged("bucket"):
                self._findings.problem("s3", "--bucket or S3_BUCKET is required")
            return ""
        try:
            return parse_bucket(given[1])
        except ValueError as error:
            self._findings.problem(given[0], error)
            return ""

    def credentials(self) -> tuple[str | None, str | None]:
        """Access key and secret key; both None if the SDK shall look for them."""
        access = self._options.given("access-key", "S3_ACCESS_KEY")
        secret = self._secret()
        if access is not None and secret is None and not self._flagged(*_SECRET_FLAGS):
            self._findings.problem(
                access[0],
                "is of no use without --secret-key-file, S3_SECRET_KEY_FILE or S3_SECRET_KEY",
            )
        if secret is not None and access is None and not self._flagged("access-key"):
            self._findings.problem(secret[0], "is of no use without --access-key or S3_ACCESS_KEY")
        for given in (access, secret):
            if given is not None and not _is_key(given[1]):
                self._findings.problem(
                    given[0],
                    f"is not a key: at most {_MAX_KEY} printable ASCII characters are allowed, "
                    "and no spaces",
                )
        return (access and access[1], secret and secret[1])

    def _flagged(self, *flags: str) -> bool:
        """Whether any of the flags was given, be it empty."""
        return any(self._options.raw(flag) is not None for flag in flags)

    def _secret(self) -> tuple[str, str] | None:
        flags = tuple(self._options.flag(flag) for flag in _SECRET_FLAGS)
        variables = (
            self._options.variable("S3_SECRET_KEY"),
            self._options.variable("S3_SECRET_KEY_FILE"),
        )
        text, file = flags if self._flagged(*_SECRET_FLAGS) else variables
        if text is not None and file is not None:
            self._findings.problem(text[0], f"cannot be given together with {file[0]}")
        if flags[0] is not None:
            self._findings.warning(
                flags[0][0],
                "the secret is visible in the process list while the daemon starts, and stays in "
                "the shell's history: use --secret-key-file or S3_SECRET_KEY",
            )
        if text is not None or file is None:
            return text
        return file[0], self._read_secret(*file)

    def _read_secret(self, source: str, path: str) -> str:
        # Who takes the one flag for the other gives us the secret as a name: it is not repeated.
        try:
            content = read_file(path)
            secret = content.data.decode().strip()
        except UnicodeDecodeError:
            self._findings.problem(source, "the file is not UTF-8")
            return ""
        except ValueError as error:
            self._findings.problem(source, f"the file {error}")
            return ""
        if not secret:
            self._findings.problem(source, "the file is empty")
        if content.exposed:
            self._findings.warning(
                source,
                f"the file is open to others than its owner (mode {content.mode:04o}): chmod 600",
            )
        return secret

    def region(self) -> str:
        """The region of AWS, or what another server calls so."""
        given = self._options.given("region", "S3_REGION")
        if given is None:
            return DEFAULT_REGION
        if _REGION.fullmatch(given[1]) is None:
            self._findings.problem(
                given[0],
                f"{given[1][:40]!a} is not a region: at most 64 letters, digits, '-' and '_' are "
                "allowed",
            )
        return given[1]

    def prefix(self) -> str:
        """What stands before every key."""
        given = self._options.given("prefix", "S3_PREFIX")
        if given is None:
            return ""
        try:
            return parse_prefix(given[1])
        except ValueError as error:
            self._findings.problem(given[0], error)
            return ""

    def addressing(self, bucket: str, endpoint: str | None) -> str:
        """Where a URL has the bucket: few servers but AWS know it as a part of the host."""
        chosen = self._options.choice("addressing", "S3_ADDRESSING", ADDRESSING)
        if chosen == "virtual" and bucket and not is_host_name(bucket):
            self._findings.problem(
                "s3",
                f"the bucket {bucket} cannot be a part of the host, as addressing 'virtual' "
                "wants it: it has upper case or underscores",
            )
        return chosen or ("auto" if endpoint is None else "path")

    def ca_file(self, endpoint: str | None) -> str | None:
        """The file with the certificates to trust in."""
        given = self._options.given("ca-file", "S3_CA_FILE")
        if given is None:
            return None
        source, name = given
        path = os.path.abspath(name)
        try:
            check_certificates(path)
        except ValueError as error:
            self._findings.problem(source, f"{path} {error}")
            return None
        if endpoint is not None and endpoint.startswith("http:"):
            self._findings.warning(source, "is of no use: the server is reached by http")
        return path

    def spool(self) -> str:
        """The directory for blobs that are not in the bucket yet."""
        given = self._options.given("spool", "S3_SPOOL")
        if given is None:
            source, path = "s3 --spool", default_spool(self._options.environ)
        else:
            source, path = given[0], os.path.abspath(given[1])
        try:
            check_directory(path)
            if given is None:
                _check_ours(path)
        except ValueError as error:
            self._findings.problem(source, error)
        return path

    def redirect_ranges(self, redirect: str | None) -> bool:
        """Whether clients that want a part of a blob are sent to the bucket too."""
        source = self._options.switch("redirect-ranges", "S3_REDIRECT_RANGES")
        if source is not None and redirect is None:
            self._findings.problem(source, "is of no use without --redirect or S3_REDIRECT")
        return source is not None

    def redirect_host(self, redirect: str | None) -> str | None:
        """The URL under which clients reach the server, if it is not ours."""
        given = self._options.given("redirect-host", "S3_REDIRECT_HOST")
        if given is None:
            return None
        if redirect is None:
            self._findings.problem(given[0], "is of no use without --redirect or S3_REDIRECT")
        try:
            return parse_url(given[1])
        except ValueError as error:
            self._findings.problem(given[0], error)
            return None

    def connections(self) -> int:
        """How many connections to the server there are at most."""
        given = self._options.given("s3-connections", "S3_CONNECTIONS")
        if given is None:
            return DEFAULT_CONNECTIONS
        source, text = given
        if _NUMBER.fullmatch(text) is None or not MIN_CONNECTIONS <= int(text) <= MAX_CONNECTIONS:
            self._findings.problem(
                source,
                f"must be a number from {MIN_CONNECTIONS} to {MAX_CONNECTIONS}, not {text[:40]!a}",
            )
            return DEFAULT_CONNECTIONS
        return int(text)


def default_spool(environ: Mapping[str, str]) -> str:
    """The spool that is used when none is named: below ``TMPDIR``, or where big files belong."""
    parent = environ.get("TMPDIR", "").strip()
    if not parent and os.access(_BIG_TEMPORARY, os.W_OK | os.X_OK):
        parent = _BIG_TEMPORARY
    return os.path.join(os.path.abspath(parent or tempfile.gettempdir()), _SPOOL)


def _check_ours(path: str) -> None:
    """Raise `ValueError` when somebody else has been faster to make a directory of a known name."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o022:
        raise ValueError(
            f"{path} is a link, or belongs to others, or can be written to by them: name another "
            "directory"
        )


def _is_key(text: str) -> bool:
    return len(text) <= _MAX_KEY and text.isascii() and text.isprintable() and " " not in text


def _is_loopback(url: str) -> bool:
    name, _ = split_port(url.partition("://")[2])
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
