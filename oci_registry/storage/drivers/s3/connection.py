"""How boto3 is told to speak to one bucket, and what its answers and failures mean.

Everything here blocks: call it in threads. What fails is a `StoreError`, but for the answers that
`failures` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from oci_registry.config.settings import FROM_ENVIRONMENT, ProxySettings, S3Settings
from oci_registry.spec.urls import BadAddress, Url
from oci_registry.storage.drivers.s3.failures import (
    UNSUPPORTED,
    AlreadyThere,
    code_of,
    explain,
    status_of,
)
from oci_registry.storage.drivers.s3.limits import DEFAULTS, S3Limits
from oci_registry.storage.drivers.s3.reading import Retries

# Seconds. A client waits while we read, and `Retries` asks again; nobody waits while we write, and a
# server that has to put a large object together may take a while.
_READING = {"connect_timeout": 2, "read_timeout": 5}
_WRITING = {"connect_timeout": 5, "read_timeout": 60}
_TROUBLE = (ClientError, BotoCoreError, HTTPError, OSError)

T = TypeVar("T")
Json = dict[str, Any]


def _client(
    settings: S3Settings, endpoint: str | None, session: Any, timeouts: Json, attempts: int = 1
) -> Any:
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.region,
        verify=settings.ca_file,
        config=Config(
            signature_version="s3v4",
            max_pool_connections=settings.connections,
            s3={"addressing_style": cast(Any, settings.addressing)},
            tcp_keepalive=True,
            # The checksums that boto3 adds by itself are not understood by many servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Our own in place of boto3's, which is put together anew for each request, at a tenth of its cost.
            user_agent="oci-registry",
            retries={"mode": "standard", "total_max_attempts": attempts},
            proxies=_proxies(settings.proxy),
            **timeouts,
        ),
    )


def _proxies(proxy: ProxySettings | str) -> dict[str, str] | None:
    """Return the proxies by scheme; None lets boto3 read the environment."""
    if proxy == FROM_ENVIRONMENT:
        return None
    if not isinstance(proxy, ProxySettings):
        return {}
    user = ""
    if proxy.credentials is not None:
        parts = (proxy.credentials.username, proxy.credentials.password)
        user = ":".join(quote(part, safe="") for part in parts) + "@"
    url = f"{'https' if proxy.tls else 'http'}://{user}{proxy.authority}"
    return {"http": url, "https": url}


def _environment_proxy(server: str) -> str:
    """Return how messages name the proxy that the environment has for a server, empty if it has none."""
    proxy = get_environ_proxies(server).get(server.partition("://")[0])
    if not proxy:
        return ""
    try:
        name = Url.parse(proxy if "://" in proxy else f"http://{proxy}").authority
    except BadAddress:
        name = "of the environment"
    return f", through the proxy {name}"


class Connection:
    """One bucket, and the clients that ask for it."""

    def __init__(self, settings: S3Settings, limits: S3Limits = DEFAULTS) -> None:
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key, aws_secret_access_key=settings.secret_key
        )
        self.place = settings.description
        self.bucket = settings.bucket
        self.prefix = f"{settings.prefix}/" if settings.prefix else ""
        self.reading = _client(settings, settings.endpoint, session, _READING)
        """The client for what somebody waits for: it gives up soon."""
        if settings.proxy == FROM_ENVIRONMENT:
            self.place += _environment_proxy(self.reading.meta.endpoint_url)
        self.writing = _client(
            settings, settings.endpoint, session, _WRITING, limits.write_attempts
        )
        """The client for the rest."""
        public = settings.redirect_endpoint or settings.endpoint
        self.public = _client(settings, public, session, _READING) if settings.redirect else None
        """The client that signs links, if there are to be any."""
        self.retries = Retries(limits)
        """What makes calls that read once more."""
        self._conditions = True

    def ask(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Ask the server; raises ClientError for its refusals, StoreError if it cannot be asked."""
        try:
            return operation(Bucket=self.bucket, **arguments)
        except ClientError:
            raise
        except _TROUBLE as error:
            raise explain(error, self.place) from error

    def demand(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Ask the server; raises `Absent` when there is no such thing, else StoreError."""
        try:
            return self.ask(operation, **arguments)
        except ClientError as error:
            raise explain(error, self.place) from error

    def about(self, operation: Callable[..., T], key: str, **arguments: Any) -> T:
        """Ask about an object; raises as `demand`."""
        return self.demand(operation, Key=self.prefix + key, **arguments)

    def if_absent(self, operation: Callable[..., T], key: str, **arguments: Any) -> T:
        """Ask to write an object if there is none; raises `AlreadyThere`.

        A server that does not know of conditions replaces what is there, as it always did.
        """
        if self._conditions:
            try:
                return self.ask(operation, Key=self.prefix + key, IfNoneMatch="*", **arguments)
            except ClientError as error:
                if status_of(error) in (409, 412):
                    raise AlreadyThere(key) from error
                if code_of(error) not in UNSUPPORTED:
                    raise explain(error, self.place) from error
            if hasattr(arguments.get("Body"), "seek"):
                arguments["Body"].seek(0)
        # If the server refused something else than the condition, it will do so again.
        answer = self.about(operation, key, **arguments)
        self._conditions = False
        return answer

    def pages(self, operation: Callable[..., Json], *markers: str) -> Iterator[Json]:
        """Yield the pages of a listing that goes on at markers."""
        at: Json = {}
        while True:
            page = self.demand(operation, Prefix=self.prefix, **at)
            yield page
            at = {marker: page[f"Next{marker}"] for marker in markers if page.get(f"Next{marker}")}
            if not (page.get("IsTruncated") and at):
                return
