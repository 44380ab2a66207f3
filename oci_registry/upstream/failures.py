"""What went wrong with an upstream, in a sentence that somebody can act on."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from OpenSSL import SSL
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
    Denied,
    GatewayTimeout,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.streams.body import BodyError, BodyStalled
from oci_registry.upstream.places import BadAddress
from oci_registry.upstream.proxies import CREDENTIALS_WANTED, ProxyFailed, ProxyRefused

DEFAULT_RETRY_AFTER = 30
"""Seconds to wait after a 429 that does not say how long."""
MAX_RETRY_AFTER = 3600

_log = Logger()


class TimedOut(GatewayTimeout):
    """The host kept us waiting, which must not happen for every request."""


class WrongAnswer(BadGateway):
    """The host works, but what it sent is of no use; it would send the same again."""


class Unusable(WrongAnswer):
    """An answer of no use, told by somebody who does not know the host: ``sent too many headers``.

    `explain` makes a sentence of it.
    """


def _causes(error: BaseException) -> list[BaseException]:
    """Unwrap the exceptions that HTTP clients wrap others in."""
    if isinstance(error, ResponseFailed | RequestTransmissionFailed):
        causes: list[BaseException] = []
        for reason in error.reasons:
            causes.extend(_causes(getattr(reason, "value", reason)))
        return causes or [error]
    return [error]


def was_cancelled(error: BaseException) -> bool:
    """Whether *error* is how a request ends that its caller has cancelled."""
    causes = [e.reason if isinstance(e, ProxyFailed) else e for e in _causes(error)]
    return any(isinstance(e, CancelledError | ConnectingCancelledError) for e in causes)


def _tls_reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details:
        return str(details[0][-1])
    return "the handshake failed"


def _by_proxy(error: ProxyFailed | ProxyRefused, host: str) -> RegistryError:
    proxy = f"{host}: its proxy {error.proxy}"
    if isinstance(error, ProxyFailed):
        return explain(error.reason, proxy)
    if error.status == CREDENTIALS_WANTED:
        told = "does not accept our credentials" if error.known else "wants credentials"
        return BadGateway(f"upstream {proxy} {told} (it answered {error.status})")
    kind = GatewayTimeout if error.status == GatewayTimeout.status else BadGateway
    return kind(f"upstream {proxy} made no connection (it answered {error.status})")


def _telling(cause: BaseException, host: str) -> RegistryError | None:
    """Return the error for a cause that tells more than its consequences, which may come before it."""
    if isinstance(cause, Unusable):
        return WrongAnswer(f"upstream {host} {cause.message}")
    if isinstance(cause, RegistryError):
        return cause
    if isinstance(cause, SSL.Error):
        return BadGateway(f"upstream {host}: TLS: {_tls_reason(cause)}")
    if isinstance(cause, ProxyFailed | ProxyRefused):
        return _by_proxy(cause, host)
    return None


def explain(error: BaseException | None, host: str, *, public_only: bool = False) -> RegistryError:
    """Return the error to raise for *error*, which happened while talking to *host*."""
    causes = _causes(error or BaseException())
    for cause in causes:
        told = _telling(cause, host)
        if told is not None:
            return told
    cause = causes[0]
    if isinstance(
        cause,
        DeferredTimeout
        | ConnectTimeout
        | TCPTimedOutError
        | ConnectingCancelledError
        | BodyStalled,
    ):
        return TimedOut(f"upstream {host} did not answer in time")
    if isinstance(cause, CancelledError):
        return GatewayTimeout(f"the request to upstream {host} was given up")
    if isinstance(cause, DNSLookupError):
        if public_only:
            return BadGateway(
                f"upstream {host}: no public address; a private registry must be configured"
            )
        return BadGateway(f"upstream {host}: its name could not be resolved")
    if isinstance(cause, BadAddress | SchemeNotSupported):
        return WrongAnswer(f"upstream {host} leads to an address that there cannot be")
    if isinstance(cause, Refused):
        return BadGateway(f"upstream {host} refused the connection")
    if isinstance(cause, ConnectError):
        return BadGateway(f"upstream {host} could not be reached: {cause.__doc__ or ''}".strip())
    if isinstance(cause, ConnectionClosed):
        return BadGateway(f"upstream {host} closed the connection without an answer")
    if isinstance(cause, ParseError):
        return BadGateway(f"upstream {host} answered with something that is not HTTP")
    if isinstance(cause, BodyError):
        return BadGateway(f"upstream {host}: {cause}")
    _log.error("unexpected error from upstream {host}: {error!r}", host=host, error=cause)
    return BadGateway(f"upstream {host} could not be asked")


def too_late(_: object, seconds: float) -> Failure:
    """Return the failure of work that `Deferred.addTimeout` has cancelled, whatever it ended with.

    A body that is given up ends with an error of its own, which is not what happened.
    """
    return Failure(DeferredTimeout(seconds, "Deferred"))


def retry_after(value: str | None, now: float) -> int:
    """Return the seconds of a ``Retry-After`` header (RFC 9110 section 10.2.3), within reason."""
    seconds = float(DEFAULT_RETRY_AFTER)
    if value is not None:
        value = value.strip()
        if value.isascii() and value.isdigit():
            seconds = float(value[:9])
        else:
            try:
                moment = parsedate_to_datetime(value)
            except (ValueError, OverflowError):
                moment = None
            if moment is not None:
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
    """Return the error for an answer that is not the one hoped for; *unknown* stands for a 404."""
    code = response.code
    if code in (404, 410):
        return unknown(f"upstream {host} does not have {what}")
    if code in (401, 403, 451):
        return Denied(f"upstream {host} does not give access to {what} (it answered {code})")
    if code == 429:
        return TooManyRequests.retry_after(
            f"upstream {host} limits the number of requests",
            retry_after(header(response, "Retry-After"), now),
        )
    if code == 503 and header(response, "Retry-After") is not None:
        seconds = retry_after(header(response, "Retry-After"), now)
        return Unavailable(
            f"upstream {host} answered {code} for {what}", headers={"Retry-After": str(seconds)}
        )
    if code == 504:
        return GatewayTimeout(f"upstream {host} answered {code} for {what}")
    # What is wrong with a question is no fault of the host, except that it was too slow (408, 425).
    kind = WrongAnswer if 400 <= code < 500 and code not in (408, 425) else BadGateway
    return kind(f"upstream {host} answered {code} for {what}")
