"""How boto3 is told to speak to one bucket, and what its answers and failures mean.

Everything here blocks: call it in threads. What fails is a `StoreError`, but for the answers that
`failures` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from oci_registry.config.settings import S3Settings
from oci_registry.storage.drivers.s3.failures import (
    Absent,
    AlreadyThere,
    BrokenOff,
    Outage,
    code_of,
    explain,
    is_outage,
    status_of,
)
from oci_registry.storage.interfaces import StoreError

# Seconds. A client waits while we read; nobody waits while we write, and a server that has to put a
# large object together may take a while.
_READING = {"connect_timeout": 2, "read_timeout": 5, "retries": {"total_max_attempts": 2}}
_WRITING = {"connect_timeout": 5, "read_timeout": 60, "retries": {"total_max_attempts": 4}}
UNSUPPORTED = frozenset(
    {"NotImplemented", "InvalidRequest", "InvalidArgument", "MissingContentMD5"}
)
"""Codes with which servers refuse what they have not learnt yet."""
_ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404"})
_TROUBLE = (ClientError, BotoCoreError, HTTPError, OSError)

T = TypeVar("T")
Json = dict[str, Any]


def _client(settings: S3Settings, endpoint: str | None, session: Any, limits: Json) -> Any:
    limits = {**limits, "retries": {**limits["retries"], "mode": "standard"}}
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
            **limits,
        ),
    )


class Connection:
    """One bucket and its clients. *now*: seconds since the epoch."""

    def __init__(self, settings: S3Settings, now: Callable[[], float]) -> None:
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key, aws_secret_access_key=settings.secret_key
        )
        self.place = settings.description
        self.bucket = settings.bucket
        self.prefix = f"{settings.prefix}/" if settings.prefix else ""
        self.reading = _client(settings, settings.endpoint, session, _READING)
        """The client for what somebody waits for: it gives up soon."""
        self.writing = _client(settings, settings.endpoint, session, _WRITING)
        """The client for the rest."""
        public = settings.redirect_endpoint or settings.endpoint
        self.public = _client(settings, public, session, _READING) if settings.redirect else None
        """The client that signs links, if there are to be any."""
        self._outage = Outage(now)
        self._conditions = True

    def ask(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Ask the server; raises ClientError for its refusals, StoreError if it cannot be asked."""
        self._outage.check()
        try:
            answer = operation(Bucket=self.bucket, **arguments)
        except _TROUBLE as error:
            if is_outage(error):
                raise self._outage.began(explain(error, self.place)) from error
            if isinstance(error, ClientError):
                self._outage.ended()
                raise
            # Nothing was sent: no credentials, no trust, no sense.
            raise explain(error, self.place) from error
        self._outage.ended()
        return answer

    def demand(self, operation: Callable[..., T], **arguments: Any) -> T:
        """Ask the server; raises `Absent` when there is no such thing, else StoreError."""
        try:
            return self.ask(operation, **arguments)
        except ClientError as error:
            raise self.refused(error) from error

    def about(self, operation: Callable[..., T], key: str, **arguments: Any) -> T:
        """Ask about an object; raises as `demand`."""
        return self.demand(operation, Key=self.prefix + key, **arguments)

    def refused(self, error: ClientError) -> StoreError:
        """Return the error for a refusal: `Absent` when there is no such thing."""
        explained = explain(error, self.place)
        return Absent(str(explained)) if code_of(error) in _ABSENT else explained

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
                    raise self.refused(error) from error
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

    def body(self, body: Any, count: int) -> bytes:
        """Read *count* bytes of a response's body and close it. Raises `BrokenOff`."""
        try:
            data = bytes(body.read(count) if count else b"")
        except (BotoCoreError, HTTPError, OSError) as error:
            raise BrokenOff(str(explain(error, self.place))) from error
        finally:
            # Read to its end, it has gone back to the pool; else the connection is of no more use.
            body.close()
        if len(data) != count:
            raise BrokenOff(f"{self.place}: the server broke off the connection")
        return data

    def twice(self, call: Callable[..., T], *arguments: Any) -> T:
        """Make a call that reads a body, and once more if the body is broken off."""
        try:
            return call(*arguments)
        except BrokenOff:
            try:
                return call(*arguments)
            except BrokenOff as error:
                raise self._outage.began(error) from None
