"""The boto3 clients of one bucket, and the meaning of responses and errors.

Everything here blocks: call it in threads. Errors are `StoreError`, or one of those that `failures` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import quote

import boto3
import botocore.session
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
from oci_registry.storage.drivers.s3.timestamps import parse_timestamp

# Seconds. Clients wait for reads, and `Retries` repeats them. No client waits for writes, and a server
# may take a while to assemble a large object.
_READING = {"connect_timeout": 2, "read_timeout": 5}
_WRITING = {"connect_timeout": 5, "read_timeout": 60}
_TROUBLE = (ClientError, BotoCoreError, HTTPError, OSError)

T = TypeVar("T")
Json = dict[str, Any]


def _session(settings: S3Settings) -> Any:
    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=parse_timestamp
    )
    return boto3.session.Session(
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        botocore_session=core,
    )


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
            # Many servers do not understand the checksums that boto3 adds by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # boto3 builds its own anew for each request, at a tenth of the cost of the request.
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
    """One bucket, and the boto3 clients for it."""

    def __init__(self, settings: S3Settings, limits: S3Limits = DEFAULTS) -> None:
        session = _session(settings)
        self.place = settings.description
        self.bucket = settings.bucket
        self.prefix = f"{settings.prefix}/" if settings.prefix else ""
        self.reading = _client(settings, settings.endpoint, session, _READING)
        """The client for reads, with short timeouts."""
        if settings.proxy == FROM_ENVIRONMENT:
            self.place += _environment_proxy(self.reading.meta.endpoint_url)
        self.writing = _client(
            settings, settings.endpoint, session, _WRITING, limits.uploads.attempts
        )
        """The client for everything else."""
        public = settings.redirect_endpoint or settings.endpoint
        self.public = _client(settings, public, session, _READING) if settings.redirect else None
        """The client that signs links; None if links are disabled."""
        self.retries = Retries(limits.reads)
        """Repeats failed reads."""
        self._conditions = True

    def call(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Make a request; raises ClientError if the server refuses it, StoreError if it gives no response."""
        try:
            return operation(Bucket=self.bucket, **arguments)
        except ClientError:
            raise
        except _TROUBLE as error:
            raise explain(error, self.place) from error

    def request(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Make a request; raises `Absent` if there is no such object, else StoreError."""
        try:
            return self.call(operation, **arguments)
        except ClientError as error:
            raise explain(error, self.place) from error

    def request_object(self, operation: Callable[..., T], key: str, **arguments: Any) -> T:
        """Make a request for an object; raises as `request`."""
        return self.request(operation, Key=self.prefix + key, **arguments)

    def if_absent(self, operation: Callable[..., T], key: str, **arguments: Any) -> T:
        """Write an object unless it exists; raises `AlreadyThere`.

        A server that does not support conditional writes replaces the object.
        """
        if self._conditions:
            try:
                return self.call(operation, Key=self.prefix + key, IfNoneMatch="*", **arguments)
            except ClientError as error:
                if status_of(error) in (409, 412):
                    raise AlreadyThere(key) from error
                if code_of(error) not in UNSUPPORTED:
                    raise explain(error, self.place) from error
            if hasattr(arguments.get("Body"), "seek"):
                arguments["Body"].seek(0)
        # If the condition was not the reason for the refusal, this request is refused as well.
        answer = self.request_object(operation, key, **arguments)
        self._conditions = False
        return answer

    def pages(self, operation: Callable[..., Json], *markers: str) -> Iterator[Json]:
        """Yield the pages of a listing; *markers* name the fields that continue it."""
        at: Json = {}
        while True:
            page = self.request(operation, Prefix=self.prefix, **at)
            yield page
            at = {marker: page[f"Next{marker}"] for marker in markers if page.get(f"Next{marker}")}
            if not (page.get("IsTruncated") and at):
                return
