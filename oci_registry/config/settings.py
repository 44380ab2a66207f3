"""What the daemon was told to do, as frozen values that every other room can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen

#: How long a tag is believed, and how long an object may lie unused: fourteen days, in seconds.
DEFAULT_INVALIDATION_TIME = 14 * 86400.0

#: Other names of one registry: each source host on the left means the one on the right.
ALIASES: Mapping[str, str] = MappingProxyType(
    {"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}
)


class ConfigError(Exception):
    """The configuration cannot be used.

    ``problems`` holds everything that is wrong, in the order it was found, so that an operator
    mends it in one go.  No problem contains a secret.
    """

    problems: tuple[str, ...]

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@frozen
class Credentials:
    """A user name and password for one upstream; the password stays out of ``repr``."""

    username: str
    password: str = field(repr=False)


@frozen
class UpstreamSettings:
    """One remote registry: which source host it answers for, and how it is reached.

    ``namespace`` is the source host as clients name it and ``host`` the registry to ask,
    ``host[:port]``, both in lower case.  Both invalidation times are seconds:
    ``manifest_invalidation_time`` is how long a tag is believed before the upstream is asked
    again (0 asks every time), ``blob_invalidation_time`` how long an object may lie unused.
    ``configured`` is false for an upstream that nobody wrote down.
    """

    namespace: str
    host: str
    tls: bool = True
    accept_invalid_certs: bool = False
    ca_file: str | None = None
    user_agent: str | None = None
    credentials: Credentials | None = None
    manifest_invalidation_time: float = DEFAULT_INVALIDATION_TIME
    blob_invalidation_time: float = DEFAULT_INVALIDATION_TIME
    configured: bool = True

    @classmethod
    def dynamic(cls, host: str) -> UpstreamSettings:
        """The upstream for a source host nobody configured: https, valid certificates, defaults.

        ``host`` must already have passed `oci_registry.spec.reference.parse_host`.
        """
        return cls(namespace=host, host=host, configured=False)


#: Registries whose host differs from their name; known without any configuration.
BUILTIN_UPSTREAMS: tuple[UpstreamSettings, ...] = (
    UpstreamSettings(namespace="docker.io", host="registry-1.docker.io"),
)


@frozen
class FilesystemSettings:
    """Keep everything in a directory; ``root`` is absolute and may not exist yet."""

    root: str

    @property
    def description(self) -> str:
        """Where objects are, for the operator's log."""
        return self.root


@frozen
class S3Settings:
    """Keep everything in a bucket of an S3 server; the secret key stays out of ``repr``.

    ``endpoint`` is a URL without a path (None: AWS), and so is ``redirect_endpoint``, under which
    clients reach the same server (None: under ``endpoint``).  Without ``access_key`` and
    ``secret_key`` the SDK looks for credentials itself.  ``prefix`` stands before every key, with
    no slash at either end.  ``addressing`` is path, virtual or auto.  ``spool`` is an absolute
    directory, which may not exist yet, for blobs while they are downloaded.  ``redirect`` sends
    clients to the bucket for blobs, ``redirect_ranges`` for parts of them too.  ``connections``
    is how many are kept to the server at most.
    """

    bucket: str
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    prefix: str = ""
    addressing: str = "auto"
    ca_file: str | None = None
    spool: str = field(kw_only=True)
    redirect: bool = False
    redirect_ranges: bool = False
    redirect_endpoint: str | None = None
    connections: int = 32

    @property
    def description(self) -> str:
        """Where objects are, for the operator's log."""
        if self.endpoint is None:
            place = f"bucket {self.bucket} (AWS, {self.region})"
        else:
            place = f"bucket {self.bucket} at {self.endpoint.partition('://')[2]}"
        return f"{place}, below {self.prefix}" if self.prefix else place


#: Where the cache keeps what it pulls: one class per storage backend.
StorageSettings = FilesystemSettings | S3Settings


@frozen
class Settings:
    """Everything the service needs to know, checked.

    ``listen`` holds Twisted endpoint descriptions, ``shutdown_grace`` is in seconds, and
    ``warnings`` are sentences for the operator, to be logged once at start.
    """

    listen: tuple[str, ...]
    storage: StorageSettings
    default_namespace: str = "docker.io"
    upstreams: tuple[UpstreamSettings, ...] = BUILTIN_UPSTREAMS
    allow_dynamic_upstreams: bool = True
    check_cache_digest: bool = False
    log_level: str = "info"
    log_format: str = "text"
    shutdown_grace: float = 30.0
    warnings: tuple[str, ...] = ()
