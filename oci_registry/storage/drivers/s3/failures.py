"""The errors of a bucket, and their explanations."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as SocketTimeout

from oci_registry.spec.errors import shown
from oci_registry.storage.interfaces import StoreError, StoreUnavailable
from oci_registry.streams.threads import RunInThread

T = TypeVar("T")

UNSUPPORTED = frozenset(
    {"NotImplemented", "InvalidRequest", "InvalidArgument", "MissingContentMD5"}
)
"""Codes with which servers refuse what they do not support."""
_ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404"})
_OVERLOADED = frozenset({429, 500, 502, 503, 504})
# The status of a proxy, RFC 9110 section 15.5.8.
_PROXY_CREDENTIALS = 407
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
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
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


class BrokenOff(StoreUnavailable):
    """The server has closed the connection in the middle of a response."""


class Busy(StoreError):
    """The server is overloaded and has refused this request."""


class Unsupported(StoreError):
    """The server does not support such requests."""


class AlreadyThere(Exception):
    """The object exists, and was not to be replaced."""


def status_of(error: BaseException | None) -> int:
    """Return the HTTP status of a server's error response, else 0."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: BaseException | None) -> str:
    """Return the S3 error code of a server's error response, else an empty text."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_unsupported(error: BaseException | None) -> bool:
    """Whether a server has refused a request that it does not support."""
    return code_of(error) in UNSUPPORTED or status_of(error) in (405, 501)


def is_denied(error: BaseException | None) -> bool:
    """Whether a server has refused a request for lack of permission."""
    return code_of(error) == "AccessDenied"


def _refusal(error: ClientError) -> str:
    code, status = code_of(error), status_of(error)
    if code in _SENTENCES:
        return f"{_SENTENCES[code]} ({code})"
    if status == _PROXY_CREDENTIALS:
        return _no_tunnel(status)
    if status in (401, 403):
        # A HEAD is refused without a code.
        return f"access is denied ({status})"
    message = str(error.response.get("Error", {}).get("Message", ""))
    words = [shown(word, 100) for word in (code, message) if word]
    return " ".join([f"the server answered {status}", *words])


def explain(error: BaseException, place: str) -> StoreError:
    """Return the `StoreError` for *error*; *place* describes the bucket.

    `Absent`: there is no such object. `Busy`: the server is overloaded. StoreUnavailable: it could not be
    reached, or did not answer.
    """
    if isinstance(error, StoreError):
        return error
    kind: type[StoreError] = StoreError
    if isinstance(error, ClientError):
        reason = _refusal(error)
        if code_of(error) in _ABSENT:
            kind = Absent
        elif status_of(error) in _OVERLOADED:
            kind = Busy
    elif isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        reason = "no credentials found: set an access key, or give the machine a role"
    elif isinstance(error, SSLError):
        reason = "the TLS certificate of the server is not trusted, or there is no TLS there"
    elif isinstance(error, (*_UNREACHED, HTTPError, OSError)):
        kind, reason = StoreUnavailable, _no_answer(error)
    else:
        reason = f"the request failed ({type(error).__name__})"
    return kind(f"{place}: {reason}")


def _no_tunnel(status: int) -> str:
    if status == _PROXY_CREDENTIALS:
        return f"the proxy requires credentials, or rejects them ({status})"
    return f"the proxy refuses to connect ({status})"


def _no_answer(error: BaseException) -> str:
    if isinstance(error, ProxyConnectionError):
        refusal = re.search(r"Tunnel connection failed: (\d{3})", str(error.kwargs.get("error")))
        return _no_tunnel(int(refusal[1])) if refusal else "the proxy cannot be reached"
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError | SocketTimeout):
        return "the server does not answer in time"
    if isinstance(error, EndpointConnectionError):
        return "the server cannot be reached"
    return "the server closed the connection"


def sensible(run: RunInThread, place: str) -> RunInThread:
    """Return *run*, with calls that raise `StoreError` if the server's response makes no sense.

    The server may not be an S3 server, and boto3 does not reject every invalid response.
    """

    def make_sense(call: Callable[..., T], *args: object) -> T:
        try:
            return call(*args)
        except (LookupError, TypeError, ValueError, AttributeError, ResponseParserError) as error:
            reason = f"the server sent an invalid answer ({type(error).__name__})"
            raise StoreError(f"{place}: {reason}") from error

    def run_sensibly(call: Callable[..., T], *args: object) -> Deferred[T]:
        return run(make_sense, call, *args)

    return run_sensibly
