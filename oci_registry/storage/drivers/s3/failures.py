"""What can go wrong with a bucket, in a sentence, and when not to ask it again for a while."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from twisted.internet.defer import Deferred

from oci_registry.spec.errors import shown
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.threads import RunInThread

T = TypeVar("T")

ASIDE = 10.0
"""Seconds that a server which did not answer, or not well, is left alone."""

_UNREACHED = (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ProxyConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
)
_SENTENCES = {
    "AccessDenied": "access is denied to these credentials",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the server's",
    "NoSuchKey": "there is no such object",
    "NoSuchUpload": "there is no such upload",
    "NoSuchBucket": "the bucket does not exist",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "SlowDown": "the server asks to slow down",
    "QuotaExceeded": "No space left: the quota is used up",
    "InsufficientStorage": "No space left on the server",
    "XMinioStorageFull": "No space left on the server",
}


class Absent(StoreError):
    """There is no such object, or no such upload."""


class BrokenOff(StoreError):
    """The server has broken off in the middle of an answer."""


class AlreadyThere(Exception):
    """There is such an object already, and it was not to be replaced."""


def status_of(error: BaseException | None) -> int:
    """Return the HTTP status of an error that a server answered with, else 0."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: BaseException | None) -> str:
    """Return the S3 error code that a server answered with, else nothing."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_outage(error: BaseException) -> bool:
    """Whether the server could not be reached, or could not cope."""
    return isinstance(error, _UNREACHED) or status_of(error) in (500, 502, 503, 504)


def _refusal(error: ClientError) -> str:
    code, status = code_of(error), status_of(error)
    if code in _SENTENCES:
        return f"{_SENTENCES[code]} ({code})"
    if status in (401, 403):
        # A HEAD is refused without a code.
        return f"access is denied ({status})"
    message = str(error.response.get("Error", {}).get("Message", ""))
    words = [shown(word, 100) for word in (code, message) if word]
    return " ".join([f"the server answered {status}", *words])


def explain(error: BaseException, place: str) -> StoreError:
    """Return the `StoreError` for *error*, which happened with the bucket that *place* describes."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, ClientError):
        reason = _refusal(error)
    elif isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        reason = "there are no credentials: give an access key, or a role"
    elif isinstance(error, SSLError):
        reason = "the TLS certificate of the server is not trusted, or there is no TLS there"
    elif isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        reason = "the server does not answer in time"
    elif isinstance(error, EndpointConnectionError | ProxyConnectionError):
        reason = "the server cannot be reached"
    elif isinstance(error, _UNREACHED):
        reason = "the server broke off the connection"
    else:
        reason = f"the request failed ({type(error).__name__})"
    return StoreError(f"{place}: {reason}")


def sensible(run: RunInThread, place: str) -> RunInThread:
    """Return *run*, whose calls raise `StoreError` where an answer lacks what they look for in it.

    What answers may be no S3 server at all, and boto3 passes on much of what it does not understand.
    """

    def make_sense(call: Callable[..., T], *args: object) -> T:
        try:
            return call(*args)
        except (LookupError, TypeError, ValueError, AttributeError, ResponseParserError) as error:
            reason = f"the server's answer makes no sense ({type(error).__name__})"
            raise StoreError(f"{place}: {reason}") from error

    def run_sensibly(call: Callable[..., T], *args: object) -> Deferred[T]:
        return run(make_sense, call, *args)

    return run_sensibly


class Outage:
    """Remembers that the server fails, so that not each request waits for it to fail again.

    After `ASIDE` seconds one request is let through; the others wait for how it ends. To be called
    in threads. *now*: seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = Lock()
        self._until = 0.0
        self._reason: StoreError | None = None

    def check(self) -> None:
        """Raise StoreError if the server is to be left alone now."""
        with self._lock:
            if self._reason is None:
                return
            if self._now() < self._until:
                raise StoreError(f"{self._reason} (a moment ago; it is left alone for a while)")
            # This one is to find out; the others keep away meanwhile.
            self._until = self._now() + ASIDE

    def ended(self) -> None:
        """The server has answered."""
        with self._lock:
            self._reason = None

    def began(self, reason: StoreError) -> StoreError:
        """The server has failed; return why."""
        with self._lock:
            self._until = self._now() + ASIDE
            self._reason = reason
        return reason
