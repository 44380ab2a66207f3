"""Log lines and metrics of a host: failures, refused credentials, circuit breakers."""

from __future__ import annotations

from attrs import evolve
from twisted.logger import LogLevel

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.metrics import HostMetrics
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.spec.texts import cut
from oci_registry.spec.urls import BadAddress, Url
from oci_registry.upstream.breaker_keys import KINDS, Key, describe
from oci_registry.upstream.errors import (
    ANSWERS,
    AccessDenied,
    CircuitOpen,
    CredentialsRefused,
    LocalFailure,
)
from oci_registry.upstream.health import LastError
from oci_registry.upstream.requests import ApiRequest

LONGEST = 500
"""The maximum length in characters of a failure in the log."""
_LONGEST_NAME = 100
_WHERE = "in the upstream file or UPSTREAM_CREDENTIALS"


class HostReports:
    """Reports the failures of one host of an upstream, and of other servers that it uses.

    Failures are distinguished by the kind of request and the reason, not by the image. A 404 is no
    failure.
    """

    def __init__(
        self,
        upstream: UpstreamSettings,
        host: HostSettings,
        repeats: RepeatLog,
        metrics: HostMetrics,
    ) -> None:
        self._namespace = upstream.namespace
        self._host = host.name
        self._user = None if host.credentials is None else host.credentials.username
        self._repeats = repeats
        self._metrics = metrics
        self.last_error: LastError | None = None
        """The latest failure; None before the first."""
        # A registry without an entry may be its own host.
        what = host.name if upstream.configured else "hosts"
        self._group = Group.of(upstream.namespace, what, configured=upstream.configured)
        if host.credentials is not None:
            # Prometheus sees the first refusal as an increase only if the counter was 0 before.
            metrics.credentials_refused(0)

    def failed(self, request: ApiRequest, error: RegistryError) -> None:
        """Report that a request failed with *error*, unless that is a response such as 404, or was reported."""
        if isinstance(error, CredentialsRefused):
            self._refused(request, error)
            return
        answered = isinstance(error, ANSWERS) and not isinstance(error, Denied)
        # A defect has been logged with its traceback, and a circuit with the failures that opened it.
        if answered or isinstance(error, LocalFailure | CircuitOpen):
            return
        message = error.message
        if isinstance(error, AccessDenied):
            message += f"; it was asked {self._identity()}"
        self._warn(request, message, _reason(message, request))

    def broke(self, request: ApiRequest, position: int, error: RegistryError) -> None:
        """Report that a body broke off at *position*, in bytes of the blob."""
        message = f"{request.subject} broke off at byte {position}: {error.message}"
        self._warn(request, message, "broke off: " + _reason(error.message, request))

    def _warn(self, request: ApiRequest, message: str, reason: str) -> None:
        kind = request.kind.value
        self._note(message)
        self._repeats.warn(
            self._group,
            (self._namespace, self._host, kind, reason),
            "{namespace}, {kind}: {error}",
            namespace=self._namespace,
            host=self._host,
            kind=kind,
            error=cut(message, LONGEST),
        )

    def _note(self, text: str) -> None:
        self.last_error = LastError(self._repeats.seconds(), cut(text, LONGEST))

    def _identity(self) -> str:
        if self._user is None:
            return "without credentials"
        return f"with the credentials of user {_quoted(self._user)}"

    def _refused(self, request: ApiRequest, error: CredentialsRefused) -> None:
        if error.certain:
            self._metrics.credentials_refused()
            text = (
                "{namespace}: the credentials for user {user} were refused by {server} ({status}): "
                f"check username and password {_WHERE}"
            )
        else:
            text = (
                "{namespace}: {server} gave user {user} no token for {repository} ({status}): "
                f"the user may not pull it, or username and password {_WHERE} are no longer valid"
            )
        server, user = _shown_url(error.url), _quoted(error.user)
        self._note(f"the credentials for user {user} were refused by {server} ({error.refusal})")
        self._repeats.warn(
            self._group,
            (self._namespace, self._host, server, user, str(error.refusal), str(error.certain)),
            text,
            namespace=self._namespace,
            host=self._host,
            user=user,
            server=server,
            status=error.refusal,
            repository=request.repository,
        )


class BreakerLog:
    """Logs changes of the circuit breakers and pauses of a host.

    Those of kinds of requests are always logged. Those of repositories and other servers are only
    counted beyond a limit, since clients and the host can name any number of them.
    """

    def __init__(self, upstream: UpstreamSettings, host: str, repeats: RepeatLog) -> None:
        self._upstream = upstream
        self._host = host
        self._repeats = repeats

    def change(self, key: Key, text: str, **fields: object) -> None:
        """Log a change of *key*; *text* is a format for *fields*. An error is a warning."""
        if len(key) > 2:
            # The failure of a single subject is reported with the request.
            return
        what = describe(key)
        level = LogLevel.warn if "error" in fields else LogLevel.info
        namespace = self._upstream.namespace
        self._repeats.emit(
            level,
            self._group(key),
            (namespace, self._host, what, text),
            "upstream {host}, {what}: " + text,
            event_kind="breaker",
            namespace=namespace,
            host=self._host,
            what=what,
            **fields,
        )

    def _group(self, key: Key) -> Group:
        namespace, configured = self._upstream.namespace, self._upstream.configured
        if configured and key in KINDS:
            # Each may open, be paused, and close.
            return Group(f"{namespace}, {self._host}, circuit breakers", 3 * len(KINDS))
        what = "circuit breakers"
        if configured:
            what += " of repositories and other servers"
        group = Group.of(namespace, what, configured=configured)
        return evolve(group, others="further changes")


def _reason(message: str, request: ApiRequest) -> str:
    """Return *message* without what differs from one request to the next."""
    return cut(without_names(message, request.repository, request.subject), LONGEST)


def _shown_url(url: str) -> str:
    """Return a URL without a user, and without the query, which may have secrets in it."""
    try:
        at = Url.parse(url)
    except BadAddress:
        return "a server"
    return cut(f"{at.scheme}://{at.authority}{at.path}", _LONGEST_NAME)


def _quoted(user: str) -> str:
    return f'"{cut(user, _LONGEST_NAME)}"'
