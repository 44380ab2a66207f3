"""The settings of the daemon, as frozen values that every other room can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen

from oci_registry.spec.sizes import Size
from oci_registry.spec.urls import authority

#: The default max age of a tag, and how long an object may lie unused: fourteen days, in seconds.
DEFAULT_INVALIDATION_TIME = 14 * 86400.0

#: Other names of one registry: each source host on the left means the one on the right.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "index.docker.io": "docker.io",
        "registry-1.docker.io": "docker.io",
        "registry.hub.docker.com": "docker.io",
    }
)

#: Registries whose repositories may have upper-case letters, by their hosts.
UPPER_CASE_REGISTRIES = frozenset({"hf.co", "huggingface.co"})

#: Instead of a proxy: none at all, or the one that the environment names.
DIRECT = "none"
FROM_ENVIRONMENT = "environment"

#: As a namespace: every registry that has no entry of its own.  As a host of it: the registry itself.
CATCH_ALL = "*"


class ConfigError(Exception):
    """The configuration cannot be used.

    ``problems`` holds everything that is wrong, in the order it was found, so that an operator
    can correct it in one go.  No problem contains a secret.
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

    @property
    def ambiguous(self) -> bool:
        """Whether the user name has a colon, which separates it from the password (RFC 7617 section 2)."""
        return ":" in self.username


@frozen
class ProxySettings:
    """An HTTP proxy that makes tunnels (``CONNECT``), spoken to over TLS if *tls*.

    ``host`` is a name or an address, an IPv6 address being without brackets.
    """

    host: str
    port: int
    tls: bool = False
    credentials: Credentials | None = None

    @property
    def authority(self) -> str:
        """Where it is, ``host:port``."""
        return authority(self.host, self.port)

    @property
    def exposed(self) -> bool:
        """Whether it gets its credentials unencrypted."""
        return self.credentials is not None and not self.tls


@frozen
class EgressSettings:
    """How servers are reached that have no settings of their own.

    ``https_proxy`` and ``http_proxy`` are for URLs of these schemes; ``no_proxy`` holds, in lower
    case, the entries of ``NO_PROXY``: ``*``, hosts and domains (``.domain``) with or without a port,
    and addresses and networks as `ipaddress` writes them.
    ``allow_private``: hosts that are not configured may have private addresses.
    """

    https_proxy: ProxySettings | None = None
    http_proxy: ProxySettings | None = None
    no_proxy: tuple[str, ...] = ()
    allow_private: bool = False


@frozen
class HostSettings:
    """One host of an upstream, ``host[:port]`` in lower case, and what is special about it.

    ``path`` stands before the name of every repository there, in URLs and in scopes of tokens,
    without a slash at either end; empty: nothing does.  With ``absolute`` the name is looked up with a
    dot at its end, so that no search domain is tried; URLs, ``Host`` and TLS have it without.
    ``ca_file`` holds certificate authorities to trust beside the system's, ``client_cert_file`` and
    ``client_key_file`` the client certificate for servers that request one; ``fingerprint`` differs when
    there is something else in these files.  ``proxy`` is a proxy, `DIRECT` or `FROM_ENVIRONMENT`, as in
    `EgressSettings`.  ``token_servers``, ``host[:port]``, are those in
    other domains that may see the ``credentials``.

    ``guarded``: a client has named this host, so it is reached at public addresses only.  ``shared``:
    it is a host of the entry for all registries, which has to obey ``ns``.
    """

    host: str
    tls: bool = True
    accept_invalid_certs: bool = False
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    credentials: Credentials | None = None
    token_servers: tuple[str, ...] = ()
    proxy: ProxySettings | str = FROM_ENVIRONMENT
    path: str = ""
    absolute: bool = False
    guarded: bool = False
    shared: bool = False
    fingerprint: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        """The scheme of its URL."""
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        """The URL of the server itself: scheme and authority."""
        return f"{self.scheme}://{self.host}"

    @property
    def name(self) -> str:
        """The name that distinguishes this host within its upstream, in logs, errors and metrics."""
        return f"{self.host}/{self.path}" if self.path else self.host


@frozen
class UpstreamSettings:
    """One remote registry: the source host that it serves, and how it is reached.

    ``namespace`` is the source host as clients name it, in lower case, and ``hosts`` are where it is
    asked, in order of preference.  ``configured`` is false for a namespace that only a client named,
    be it asked at hosts that the operator chose (see `oci_registry.config.catch_all`): a client can
    choose what such an upstream does.  All times are seconds:

    * ``manifest_invalidation_time``: how long a tag is fresh before it is revalidated upstream
      (0 asks every time); ``stale_while_revalidate``: how much longer it is served while it is asked
      in the background; ``stale_if_error``: how much longer it is served when no host can say.
    * ``blob_invalidation_time``: how long an object may lie unused.
    * ``connect_timeout``: for a connection to be made; ``response_timeout``: from a question to its
      answer's headers; ``body_timeout``: how long a body may stand still.
    * ``remember_not_found``, ``remember_denied``: how long a negative answer is remembered.

    ``believe_not_found`` is whether a 404 removes a stored tag.  ``retries`` is how many
    attempts to go on with a body may fail in a row, ``max_connections`` how many requests each host
    gets at once.  With ``upper_case_names`` its repositories may have upper-case letters.
    """

    namespace: str
    hosts: tuple[HostSettings, ...]
    user_agent: str | None = None
    manifest_invalidation_time: float = DEFAULT_INVALIDATION_TIME
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 7 * 86400.0
    blob_invalidation_time: float = DEFAULT_INVALIDATION_TIME
    connect_timeout: float = 10.0
    response_timeout: float = 20.0
    body_timeout: float = 60.0
    remember_not_found: float = 10.0
    remember_denied: float = 60.0
    believe_not_found: bool = True
    retries: int = 8
    max_connections: int = 64
    upper_case_names: bool = False
    configured: bool = True

    @classmethod
    def dynamic(cls, host: str) -> UpstreamSettings:
        """The upstream for a registry that is not configured: https, valid certificates, defaults.

        ``host`` must already have passed `oci_registry.spec.reference.parse_host`.
        """
        return cls(
            namespace=host,
            hosts=(HostSettings(host, guarded=True),),
            upper_case_names=host in UPPER_CASE_REGISTRIES,
            configured=False,
        )


#: Registries whose host differs from their name; known without any configuration.
BUILTIN_UPSTREAMS: tuple[UpstreamSettings, ...] = (
    UpstreamSettings(namespace="docker.io", hosts=(HostSettings("registry-1.docker.io"),)),
)


@frozen
class CredentialsSource:
    """Where credentials for upstreams are: in ``file``, or in ``text``, which stays out of ``repr``.

    ``source`` is how messages call it.
    """

    source: str
    text: str = field(default="", repr=False)
    file: str | None = None


@frozen
class UpstreamSources:
    """The files that configure the upstreams; none if only the built-in ones are used.

    ``file`` is the path of the upstream file.
    """

    file: str | None = None
    credentials: CredentialsSource | None = None


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
    is how many are kept to the server at most.  ``proxy`` is a proxy, `DIRECT` or `FROM_ENVIRONMENT`.
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
    proxy: ProxySettings | str = DIRECT

    @property
    def description(self) -> str:
        """Where objects are, for the operator's log."""
        if self.endpoint is None:
            place = f"bucket {self.bucket} (AWS, {self.region})"
        else:
            place = f"bucket {self.bucket} at {self.endpoint.partition('://')[2]}"
        if self.prefix:
            place += f", prefix {self.prefix}"
        if isinstance(self.proxy, ProxySettings):
            place += f", through the proxy {self.proxy.authority}"
        return place


#: Where the cache keeps what it pulls: one class per storage backend.
StorageSettings = FilesystemSettings | S3Settings


@frozen
class Settings:
    """Everything the service needs to know, checked.

    ``listen`` and ``admin_listen`` hold Twisted endpoint descriptions, the latter being for those
    who watch the daemon; without one they are served with everybody.  ``access_log`` is combined, json
    or off; without it there is one as ``log_level`` and ``log_format`` have it.  ``shutdown_grace`` is
    in seconds.  ``max_size`` is how much may be stored, ``min_free`` how much of the volume stays
    free.  ``warnings`` are sentences for the operator, to be logged once at start.
    ``sources`` is where ``upstreams`` have come from, and no part of what the settings mean.
    """

    listen: tuple[str, ...]
    storage: StorageSettings
    default_namespace: str = "docker.io"
    upstreams: tuple[UpstreamSettings, ...] = BUILTIN_UPSTREAMS
    allow_dynamic_upstreams: bool = True
    egress: EgressSettings = EgressSettings()
    check_cache_digest: bool = False
    log_level: str = "info"
    log_format: str = "text"
    shutdown_grace: float = 30.0
    admin_listen: tuple[str, ...] = ()
    access_log: str | None = None
    max_size: Size | None = None
    min_free: Size | None = None
    warnings: tuple[str, ...] = ()
    sources: UpstreamSources = field(default=UpstreamSources(), eq=False)

    @property
    def access_log_in_effect(self) -> str:
        """The form of the access log: combined, json, text or off.

        If none was chosen it is as the log, which leaves it out above the level info.
        """
        if self.access_log is not None:
            return self.access_log
        return self.log_format if self.log_level in ("debug", "info") else "off"
