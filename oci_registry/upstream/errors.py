"""The errors of requests to upstreams, beside those of the API; `failures` makes them of what went wrong."""

from __future__ import annotations

import math

from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    GatewayTimeout,
    InternalError,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unavailable,
)


class TimedOut(GatewayTimeout):
    """The host did not answer in time; one such failure opens a circuit breaker."""


class Unreachable(BadGateway):
    """No connection to the host could be made."""


class Lasting(Unreachable):
    """No connection could be made, and another attempt within seconds would fail in the same way."""


class NoPublicAddress(Lasting):
    """A host that is not configured has no public address."""


class ConnectTimedOut(TimedOut, Unreachable):
    """The connection attempt timed out: it was neither accepted nor refused."""


class WrongAnswer(BadGateway):
    """The response cannot be used, and the host would send the same again."""


class Unusable(WrongAnswer):
    """A response cannot be used, in code that does not know the host: ``sent too many headers``.

    `explain` makes a sentence of it.
    """


class RateLimited(TooManyRequests):
    """The host, or a server that it redirects to, has rate limited such requests for *seconds*."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message, headers={"Retry-After": str(math.ceil(seconds))})
        self.seconds = seconds


class Limited(RateLimited):
    """The host itself is rate limiting (429, or 503 with ``Retry-After``)."""


class CircuitOpen(Unavailable):
    """The circuit breaker of the host is open."""


class TooManyLookups(BadGateway):
    """Too many names are being looked up, and that of a host is not; this is no failure of the host."""

    def __init__(self, host: str) -> None:
        super().__init__(f"upstream {host}: too many names are being looked up; try again")


class LocalFailure(InternalError):
    """A defect of the mirror, and not a failure of the host; it has been logged."""


class AccessDenied(Denied):
    """The host denies access; whether credentials were sent is for the log."""


class CredentialsRefused(Denied):
    """The credentials of *user* were refused with *status* at *url*, by the host or its token server.

    *certain*: false if the server may only have denied access to a repository. The message is for
    clients and does not contain the user.
    """

    def __init__(
        self, message: str, user: str, url: str, status: int, *, certain: bool = True
    ) -> None:
        super().__init__(message)
        self.user = user
        self.url = url
        self.refusal = status
        self.certain = certain


class TargetRefused(BadGateway):
    """The server that the host redirected to refused the request."""


class NoReferrers(ManifestUnknown):
    """The host has no list of referrers; another host may have one."""


class TargetFailed(Exception):
    """The host responded, but the server that it redirected to failed with *error*."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error.message)
        self.error = error


ANSWERS = (BlobUnknown, ManifestUnknown, NameUnknown, Denied)
"""Errors that are answers to a request, and no failures of the host."""
