"""The settings of the daemon, as frozen values that all other packages can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen

from oci_registry.spec.patterns import ImagePattern
from oci_registry.spec.sizes import Size
from oci_registry.spec.urls import authority

#: The default max age of a tag, and the default lifetime of an unused object: fourteen days, in seconds.
DEFAULT_INVALIDATION_TIME = 14 * 86400.0

#: The default rate of a scrub, in bytes per second.
DEFAULT_SCRUB_RATE = Size(20_000_000, None, "20MB")

#: Aliases of registries: each source host on the left stands for the one on the right.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "index.docker.io": "docker.io",
        "registry-1.docker.io": "docker.io",
        "registry.hub.docker.com": "docker.io",
    }
)

#: Registries whose repositories may have upper-case letters, by their hosts.
UPPER_CASE_REGISTRIES = frozenset({"hf.co", "huggingface.co"})

#: Values in place of a proxy: none at all, or the one in the environment.
DIRECT = "none"
FROM_ENVIRONMENT = "environment"

#: As a namespace: every registry that has no entry of its own.  As a host of it: the registry itself.
CATCH_ALL = "*"


#: Bytes: with a smaller limit, hardly any layer could be stored, since one may take a quarter of it.
SMALLEST_LIMIT = 16 * 1024 * 1024


class ConfigError(Exception):
    """The configuration cannot be used.

    ``problems`` has everything that is wrong, in order, so that all of it can be corrected at once.
    No problem contains a secret.
    """

    problems: tuple[str, ...]

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@frozen
class Credentials:
    """A user name and a password for an upstream; the password is not in ``repr``."""

    username: str
    password: str = field(repr=False)

    @property
    def ambiguous(self) -> bool:
        """Return whether the user name has a colon, which separates it from the password (RFC 7617)."""
        return ":" in self.username


@frozen
class ProxySettings:
    """An HTTP proxy that supports ``CONNECT``; the connection to it uses TLS if *tls* is true.

    ``host`` is a name or an address, without the brackets of an IPv6 address.
    """

    host: str
    port: int
    tls: bool = False
    credentials: Credentials | None = None

    @property
    def authority(self) -> str:
        """Return ``host:port``."""
        return authority(self.host, self.port)

    @property
    def exposed(self) -> bool:
        """Return whether it gets its credentials unencrypted."""
        return self.credentials is not None and not self.tls


@frozen
class EgressSettings:
    """The settings for connections to servers without their own.

    ``https_proxy`` and ``http_proxy`` are for URLs of these schemes. ``no_proxy`` has the entries
    of ``NO_PROXY`` in lower case: ``*``, hosts and domains (``.domain``) with or without a port,
    addresses and networks as `ipaddress` writes them. ``allow_private``: whether hosts that are not
    configured may have private addresses.
    """

    https_proxy: ProxySettings | None = None
    http_proxy: ProxySettings | None = None
    no_proxy: tuple[str, ...] = ()
    allow_private: bool = False


@frozen
class HostSettings:
    """One host of an upstream.

    ``host`` is ``host[:port]`` in lower case. ``path`` precedes the name of every repository, in
    URLs and in the scopes of tokens, without a slash at either end; it may be empty. With ``absolute``,
    the name is resolved with a dot at its end, so that no search domain is tried; URLs, ``Host`` and
    TLS have no dot. ``ca_file`` has certificate authorities to trust besides the system's.
    ``client_cert_file`` and ``client_key_file`` are the client certificate. ``fingerprint`` changes
    with the content of these files. ``proxy`` is a proxy, `DIRECT` or `FROM_ENVIRONMENT`, as in
    `EgressSettings`. ``token_servers`` (``host[:port]``) are those in other domains that may get the
    ``credentials``. ``guarded``: a client has named this host, so only public addresses are allowed.
    ``shared``: it is a host of the entry for all registries, and has to support ``ns``.
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
        """Return the scheme of its URL."""
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        """Return the URL of the server: scheme and authority."""
        return f"{self.scheme}://{self.host}"

    @property
    def name(self) -> str:
        """Return the name of this host within its upstream, for logs, errors and metrics."""
        return f"{self.host}/{self.path}" if self.path else self.host


@frozen
class AgeRule:
    """The minimum age of new digests, in seconds, of images that match *pattern*."""

    pattern: ImagePattern
    seconds: float


@frozen
class MinAges:
    """The minimum ages of new digests; 0 seconds means none.

    The first matching rule counts; the rules are ordered by the length of their patterns.
    """

    rules: tuple[AgeRule, ...] = ()

    def of(self, repository: str, tag: str) -> float:
        """Return the minimum age for a tag, in seconds."""
        return next(
            (rule.seconds for rule in self.rules if rule.pattern.matches(repository, tag)), 0.0
        )


@frozen
class UpstreamSettings:
    """One remote registry.

    ``namespace`` is the source host as clients name it, in lower case. ``hosts`` are its hosts, in
    order of preference. ``configured`` is false for a namespace that only a client named, also if the
    hosts are those of `oci_registry.config.catch_all`. All times are in seconds:

    * ``manifest_invalidation_time``: how long a tag is fresh before it is revalidated (0: each
      request revalidates it); ``stale_while_revalidate``: how much longer it is served while it is
      revalidated in the background; ``stale_if_error``: how much longer it is served if all hosts
      fail.
    * ``blob_invalidation_time``: after how long without use an object is removed.
    * ``connect_timeout``: for a connection; ``response_timeout``: from a request to the headers of
      its response; ``body_timeout``: how long a body may make no progress.
    * ``remember_not_found``, ``remember_denied``: how long negative responses are cached.
    * ``min_age``: how long a new digest of a known tag must have been seen before it is served.

    ``trust_not_found`` is whether a 404 removes a stored tag. ``retries`` is how many attempts to
    resume a body may fail in a row, ``max_connections`` how many requests each host gets at once.
    ``upper_case_names`` allows upper-case letters in its repositories. ``offline``: it is never
    asked. ``prefetch``: the blobs of an image are downloaded when its manifest is pulled.
    ``rate_limit_reserve`` is the percentage of an announced rate limit that is left to clients.
    ``pin``: images that are never evicted. ``keep_newest_tags``: how many of the newest tags of each
    repository are evicted last. ``max_size``: how much its images may take.
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
    trust_not_found: bool = True
    retries: int = 8
    max_connections: int = 64
    upper_case_names: bool = False
    offline: bool = False
    prefetch: bool = False
    rate_limit_reserve: int = 25
    min_age: MinAges = MinAges()
    pin: tuple[ImagePattern, ...] = ()
    keep_newest_tags: int = 0
    max_size: Size | None = None
    configured: bool = True

    @classmethod
    def dynamic(cls, host: str) -> UpstreamSettings:
        """Return the upstream of a registry that is not configured: https, verified, with defaults.

        ``host`` must have passed `oci_registry.spec.reference.parse_host`.
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
    """Where credentials for upstreams are: in ``file``, or in ``text``, which is not in ``repr``.

    ``source`` names it in messages.
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
    """A store in a directory; ``root`` is absolute and may not exist yet."""

    root: str

    @property
    def description(self) -> str:
        """Return where objects are, for the log."""
        return self.root


@frozen
class S3Settings:
    """A store in a bucket of an S3 server; the secret key is not in ``repr``.

    ``endpoint`` is a URL without a path (None: AWS), and so is ``redirect_endpoint``, where clients
    reach the same server (None: at ``endpoint``). Without ``access_key`` and ``secret_key`` the SDK
    finds credentials itself. ``prefix`` precedes every key, with no slash at either end.
    ``addressing`` is path, virtual or auto. ``spool`` is an absolute directory, which may not exist
    yet, for blobs while they are downloaded. ``redirect`` redirects clients to the bucket for
    blobs, ``redirect_ranges`` for parts of them too. ``connections`` is the maximum number of
    connections to the server. ``proxy`` is a proxy, `DIRECT` or `FROM_ENVIRONMENT`.
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
        """Return where objects are, for the log."""
        if self.endpoint is None:
            place = f"bucket {self.bucket} (AWS, {self.region})"
        else:
            place = f"bucket {self.bucket} at {self.endpoint.partition('://')[2]}"
        if self.prefix:
            place += f", prefix {self.prefix}"
        if isinstance(self.proxy, ProxySettings):
            place += f", through the proxy {self.proxy.authority}"
        return place


#: Where pulled content is stored: one class for each storage.
StorageSettings = FilesystemSettings | S3Settings


@frozen
class Settings:
    """All settings of the daemon, checked.

    ``listen`` and ``admin_listen`` are Twisted endpoint descriptions. The latter are for the admin API
    and for metrics; without one, ``listen`` is used for metrics. ``admin_socket``: whether the admin API
    has a socket in the directory of the store. ``admin_token`` is what it needs elsewhere, from
    ``admin_token_file``; it is not in ``repr``. ``access_log`` is combined, json or off; by default
    it depends on ``log_level`` and ``log_format``. ``shutdown_grace`` is in seconds. ``workers`` is the
    number of worker processes, 1 for none. ``max_size`` is how much may be stored, ``min_free`` how much
    of the volume stays free. ``scrub_interval`` is in seconds, 0 for no scrub; ``scrub_rate`` is in bytes
    per second, 0 for no limit. ``warnings`` are sentences for the operator, logged once at the start.
    ``offline``: no registry is ever asked. ``sources`` is where ``upstreams`` were read from; it is not
    a part of the comparison.
    """

    listen: tuple[str, ...]
    storage: StorageSettings
    default_namespace: str = "docker.io"
    upstreams: tuple[UpstreamSettings, ...] = BUILTIN_UPSTREAMS
    allow_dynamic_upstreams: bool = True
    egress: EgressSettings = EgressSettings()
    check_cache_digest: bool = False
    plain_http: bool = False
    log_level: str = "info"
    log_format: str = "text"
    shutdown_grace: float = 30.0
    workers: int = 1
    admin_listen: tuple[str, ...] = ()
    admin_socket: bool = True
    admin_token_file: str | None = None
    admin_token: str | None = field(default=None, repr=False)
    access_log: str | None = None
    max_size: Size | None = None
    min_free: Size | None = None
    scrub_interval: float = 0.0
    scrub_rate: Size = DEFAULT_SCRUB_RATE
    warnings: tuple[str, ...] = ()
    sources: UpstreamSources = field(default=UpstreamSources(), eq=False)
    offline: bool = False

    @property
    def access_log_in_effect(self) -> str:
        """Return the form of the access log: combined, json, text or off.

        By default it has the form of the log, and is off if the level of the log is above info.
        """
        if self.access_log is not None:
            return self.access_log
        return self.log_format if self.log_level in ("debug", "info") else "off"
