"""Failures of upstreams, each explained in a sentence that operators can act on."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from OpenSSL import SSL
from twisted.internet.address import HostnameAddress
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
    TCPTimedOutError,
)
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IResponse

from oci_registry.spec.errors import (
    BadGateway,
    GatewayTimeout,
    RegistryError,
)
from oci_registry.spec.urls import BadAddress
from oci_registry.streams.body import BodyError, BodyStalled
from oci_registry.upstream.errors import (
    AccessDenied,
    ConnectTimedOut,
    Lasting,
    Limited,
    LocalFailure,
    NoPublicAddress,
    TimedOut,
    TooManyLookups,
    Unreachable,
    Unusable,
    WrongAnswer,
)
from oci_registry.upstream.proxies import CREDENTIALS_WANTED, ProxyFailed, ProxyRefused
from oci_registry.upstream.tls_errors import describe_tls, is_not_tls
from oci_registry.upstream.verification import CertificateRefused

DEFAULT_RETRY_AFTER = 30
"""Seconds to wait after a 429 that does not say how long."""
MAX_RETRY_AFTER = 3600
# From this value on, the number is a Unix time and not a duration; some servers send one.
_EPOCH = 1_000_000_000
EXPECTS_TLS = "does it expect TLS? (remove tls: false)"
"""A hint for the error of a host that is reached over plain HTTP."""
# A TLS record that is an alert (RFC 8446 section 5.1), in any version.
_TLS_ALERT = b"\x15\x03"
_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]{1,20}))?", re.ASCII)

_log = Logger()


class NameTimedOut(ConnectTimeout):
    """A connection took too long since the look-up of the name did."""


class NameCancelled(ConnectingCancelledError):
    """A connection was cancelled while the name of *host* was being looked up."""

    def __init__(self, host: str) -> None:
        super().__init__(HostnameAddress(host.encode("ascii"), 0))  # type: ignore[no-untyped-call]


def _causes(error: BaseException) -> list[BaseException]:
    """Yield the exceptions that HTTP clients have wrapped in others."""
    if isinstance(error, ResponseFailed | RequestTransmissionFailed):
        causes: list[BaseException] = []
        for reason in error.reasons:
            causes.extend(_causes(getattr(reason, "value", reason)))
        return causes or [error]
    return [error]


def root_cause(error: BaseException) -> BaseException:
    """Return the exception that HTTP clients have wrapped in *error*."""
    return _causes(error)[0]


def was_cancelled(error: BaseException) -> bool:
    """Return whether *error* means that the caller has cancelled a request."""
    causes = [e.reason if isinstance(e, ProxyFailed) else e for e in _causes(error)]
    return any(isinstance(e, CancelledError | ConnectingCancelledError) for e in causes)


def _by_proxy(error: ProxyFailed | ProxyRefused, host: str) -> RegistryError:
    proxy = f"{host}: its proxy {error.proxy}"
    if isinstance(error, ProxyFailed):
        return explain(error.reason, proxy)
    if error.status == CREDENTIALS_WANTED:
        problem = "rejected our credentials" if error.known else "requires credentials"
        return Unreachable(f"upstream {proxy} {problem} (status {error.status})")
    kind = ConnectTimedOut if error.status == GatewayTimeout.status else Unreachable
    return kind(f"upstream {proxy} could not connect (status {error.status})")


def _specific(cause: BaseException, host: str) -> RegistryError | None:
    """Return the error for the most specific cause, None if there is none."""
    if isinstance(cause, Unusable):
        return WrongAnswer(f"upstream {host} {cause.message}")
    if isinstance(cause, RegistryError):
        return cause
    if isinstance(cause, SSL.Error):
        lasting = isinstance(cause, CertificateRefused) or is_not_tls(cause)
        kind = Lasting if lasting else Unreachable
        return kind(f"upstream {host}: TLS: {describe_tls(cause)}")
    if isinstance(cause, ProxyFailed | ProxyRefused):
        return _by_proxy(cause, host)
    return None


def explain(
    error: BaseException | None, host: str, *, public_only: bool = False, plain: bool = False
) -> RegistryError:
    """Return the error to raise for *error*, which happened while talking to *host*.

    *plain*: over plain HTTP, because of ``tls: false``.
    """
    if error is None:
        return BadGateway(f"upstream {host} failed without an error")
    causes = _causes(error)
    for cause in causes:
        specific = _specific(cause, host)
        if specific is not None:
            return specific
    cause = causes[0]
    if plain and isinstance(cause, ParseError) and cause.data.startswith(_TLS_ALERT):
        return WrongAnswer(f"upstream {host} answered with a TLS alert: {EXPECTS_TLS}")
    received = isinstance(error, ResponseFailed)
    explained = _explain_simple(cause, host, public_only=public_only, received=received)
    if plain and isinstance(cause, ConnectionClosed):
        return BadGateway(f"{explained.message}: {EXPECTS_TLS}")
    return explained


_SIMPLE: tuple[tuple[tuple[type[BaseException], ...], type[RegistryError], str], ...] = (
    (
        (NameTimedOut,),
        ConnectTimedOut,
        "upstream {host}: its name could not be resolved in time",
    ),
    (
        (ConnectTimeout, TCPTimedOutError, ConnectingCancelledError),
        ConnectTimedOut,
        "upstream {host} did not answer in time: no connection could be made",
    ),
    ((DeferredTimeout, BodyStalled), TimedOut, "upstream {host} did not answer in time"),
    ((CancelledError,), GatewayTimeout, "the request to upstream {host} was cancelled"),
    # The system's resolver has retried several times already.
    ((DNSLookupError,), Unreachable, "upstream {host}: its name could not be resolved"),
    (
        (BadAddress, SchemeNotSupported),
        WrongAnswer,
        "upstream {host} sent an invalid address",
    ),
    ((Refused,), Unreachable, "upstream {host} refused the connection"),
    ((ConnectError,), Unreachable, "upstream {host} could not be reached: {reason}"),
    ((ConnectionClosed,), BadGateway, "upstream {host} closed the connection without an answer"),
    ((ParseError,), BadGateway, "upstream {host} sent a malformed HTTP response"),
    ((BodyError,), BadGateway, "upstream {host}: {error}"),
)


def _explain_simple(
    cause: BaseException, host: str, *, public_only: bool, received: bool
) -> RegistryError:
    """Return the error for a cause of the kinds in `_SIMPLE`, or for a defect of the mirror.

    *received*: it happened while a response was read.
    """
    if isinstance(cause, DNSLookupError) and public_only:
        return NoPublicAddress(
            f"upstream {host}: its name cannot be resolved to a public address: check its spelling and DNS; "
            "configure private registries in the upstream file"
        )
    for kinds, error, text in _SIMPLE:
        if isinstance(cause, kinds):
            message = text.format(host=host, reason=_reason(cause), error=cause)
            return error(message.strip().removesuffix(":"))
    if received:
        # Twisted's parser has no specific error for some malformed responses.
        return BadGateway(f"upstream {host} sent a malformed HTTP response")
    _log.failure("a request to upstream {host} crashed", Failure(cause), host=host)
    failure = LocalFailure("internal error of the mirror; see its log")
    failure.__cause__ = cause
    return failure


def _reason(cause: BaseException) -> str:
    """Return the system's reason for a connection that could not be made, or else Twisted's text."""
    reason = cause.args[0] if isinstance(cause, ConnectError) and cause.args else ""
    return str(reason) or cause.__doc__ or ""


def too_late(ended: object, seconds: float) -> Failure:
    """Return the error for work that `Deferred.addTimeout` has cancelled.

    A cancelled body ends with an error of its own, which is replaced. A connection that was not
    made in time is an error of its own: the host is unreachable for all requests. So is `TooManyLookups`,
    which is no failure of the host.
    """
    causes = _causes(ended.value) if isinstance(ended, Failure) and ended.value is not None else []
    for cause in causes:
        if isinstance(cause, TooManyLookups):
            return Failure(cause)
    if any(isinstance(cause, NameCancelled) for cause in causes):
        return Failure(NameTimedOut())  # type: ignore[no-untyped-call]
    if any(isinstance(cause, ConnectingCancelledError) for cause in causes):
        return Failure(ConnectTimeout())
    return Failure(DeferredTimeout(seconds, "Deferred"))


def retry_after(value: str | None, now: float) -> int | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110 section 10.2.3), up to a limit.

    None if the header is missing or invalid. Fractions are rounded up.
    """
    number = _SECONDS.fullmatch((value or "").strip())
    if value is None:
        return None
    if number is not None:
        seconds = float(number[1][:12]) + bool((number[2] or "").strip("0"))
        if seconds >= _EPOCH:
            seconds -= now
    else:
        try:
            moment = parsedate_to_datetime(value.strip())
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp() - now
    return int(min(max(seconds, 1), MAX_RETRY_AFTER))


def header(response: IResponse, name: str) -> str | None:
    """Return the first value of a response header as text."""
    values = response.headers.getRawHeaders(name.encode("ascii"))
    return values[0].decode("utf-8", "replace") if values else None


def refuse(
    response: IResponse, host: str, unknown: type[RegistryError], what: str, now: float
) -> RegistryError:
    """Return the error for an unsuccessful answer; *unknown* stands for a 404."""
    code = response.code
    if code in (404, 410):
        return unknown(f"upstream {host} does not have {what}")
    if code in (401, 403, 412, 451):
        # 412 is how Harbor refuses what a policy of the project blocks.
        return AccessDenied(f"upstream {host} denied access to {what} (status {code})")
    seconds = retry_after(header(response, "Retry-After"), now)
    if code == 429:
        limited = f"upstream {host} rate limits requests"
        return Limited(limited, seconds or DEFAULT_RETRY_AFTER)
    if code == 503 and seconds is not None:
        return Limited(f"upstream {host} answered {code} for {what}", seconds)
    if code == 504:
        return GatewayTimeout(f"upstream {host} answered {code} for {what}")
    # A 4xx is not a failure of the host, except for those about timing (408, 425).
    kind = BadGateway if code >= 500 or code in (408, 425) else WrongAnswer
    return kind(f"upstream {host} answered {code} for {what}")
