"""The site and its requests: connections, graceful close and the access log."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from oci_registry.logs import AccessEntry, AccessLog
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.streams.waiters import Waiters
from oci_registry.web.channel import RegistryChannel
from oci_registry.web.head import origin_form
from oci_registry.web.polling import Poller
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.refusals import BODY_TOO_LARGE, Refusal
from oci_registry.web.shown import reason_of, shown, shown_reason, without_secrets

IDLE_TIMEOUT = 120.0
"""Seconds a connection may be silent between requests, and that a whole request may take to arrive."""
TIMEOUT_CHECK = 1.0
"""Seconds between two checks of the timeouts of connections, by which a timeout may be late."""
CLIENT_LEFT = 499
"""The status in the access log if the client has left before there was a response."""
_CUT_SHORT = Group("responses that were cut short")


class RegistryRequest(Request):
    """A request whose body is discarded, since no endpoint uses it.

    *target* is the request target as it was sent, *uri* its path and query. *namespace* (the registry),
    *outcome* (of the cache) and *error* (why the response is an error, or incomplete) are for the access
    log; None while they are not known.
    """

    target: bytes = b"-"
    namespace: str | None = None
    outcome: Outcome | None = None
    error: str | None = None

    def __init__(self, channel: HTTPChannel, queued: object = None) -> None:
        super().__init__(channel)
        self.began: float = channel.factory.reactor.seconds()

    def gotLength(self, length: int | None) -> None:
        """Allocate nothing for the body, whatever its length."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Discard the body."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Handle the request, in any form of its target."""
        self.target = path
        super().requestReceived(command, origin_form(path), version)

    def connectionLost(self, reason: Failure) -> None:
        """Log a response that was not completed."""
        if self.uri is not HTTPRequest.uri:  # else its head has not arrived
            if not self.startedWriting:
                self.code = CLIENT_LEFT
            if self.error is None:
                when = "during" if self.startedWriting else "before"
                self.error = f"the client closed the connection {when} the response"
            self.channel.factory.log(self)
        super().connectionLost(reason)

    @property
    def gone(self) -> bool:
        """Whether the client has left, or its response is complete."""
        channel: HTTPChannel | None = self.channel
        return channel is None

    def processingFailed(self, reason: Failure) -> Failure:
        """Respond with a 500, whose reason is in the access log too."""
        self.error = reason_of(cast(Exception, reason.value))
        return cast(Failure, super().processingFailed(reason))

    def abort(self, why: str) -> None:
        """Close the connection at once; unsent bytes are lost. *why* is for the access log."""
        if self.channel is not None:
            self.error = self.error or why
            cast(RegistryChannel, self.channel).abort()

    def warn_of_cut(self) -> None:
        """Log that the response is cut short because of `error`."""
        self.channel.factory.warn_of_cut(self)

    def close_short(self) -> None:
        """Close the connection in order, before the announced end of a response that cannot be completed.

        Clients resume after an orderly close, but not after a reset.
        """
        if self.channel is not None:
            self.channel.loseConnection()


class RegistrySite(Site):
    """The site, which can close its connections gracefully."""

    protocol = RegistryChannel  # type: ignore[assignment]
    noisy = False
    body_too_large = BODY_TOO_LARGE
    """The response to a request whose body is too large to be read."""
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        access_log: AccessLog,
        repeats: RepeatLog,
        ready: ReadyAnswers | None = None,
        poller: Poller | None = None,
    ) -> None:
        super().__init__(
            resource, requestFactory=RegistryRequest, timeout=IDLE_TIMEOUT, reactor=reactor
        )
        self.displayTracebacks = False
        self._access_log = access_log
        self._repeats = repeats
        self._channels: set[RegistryChannel] = set()
        self.closing = False
        """Whether further requests are refused."""
        self.ready = ready
        """The table of ready answers; None: there is none."""
        self.poller = poller
        """Waits for requests on connections with a `FileTransport`; None: the reactor does."""
        self._empty: Waiters[None] = Waiters()
        self._checking: IDelayedCall | None = None

    def connection_count(self) -> int:
        """Return how many connections are open."""
        return len(self._channels)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Accept a connection, unless the site is closing."""
        return None if self.closing else super().buildProtocol(addr)

    def connected(self, channel: RegistryChannel) -> None:
        """Add an open connection."""
        self._channels.add(channel)
        if self._checking is None:
            self._checking = self.reactor.callLater(TIMEOUT_CHECK, self._check_timeouts)

    def disconnected(self, channel: RegistryChannel) -> None:
        """Remove a closed connection."""
        self._channels.discard(channel)
        if not self._channels:
            if self._checking is not None:
                self._checking.cancel()
                self._checking = None
            self._empty.fire(None)

    def _check_timeouts(self) -> None:
        self._checking = self.reactor.callLater(TIMEOUT_CHECK, self._check_timeouts)
        now = self.reactor.seconds()
        for channel in list(self._channels):
            channel.check_timeout(now)

    def close(self, grace: float) -> Deferred[None]:
        """Close idle connections now, busy ones after their response, and all after *grace* seconds.

        Fires when all are closed.
        """
        self.closing = True
        if not self._channels:
            return succeed(None)
        late = self.reactor.callLater(grace, self._abort_all)

        def closed(_: None) -> None:
            if late.active():
                late.cancel()

        done = self._empty.wait().addCallback(closed)
        for channel in list(self._channels):
            channel.close_when_idle()
        return done

    def _abort_all(self) -> None:
        self._log.warn(
            "{count} connections were still open after the grace period and were aborted",
            count=len(self._channels),
        )
        for channel in list(self._channels):
            for request in channel.requests:
                request.error = request.error or "the daemon is stopping"
            channel.abort()

    def warn_of_cut(self, request: RegistryRequest) -> None:
        """Warn about a response that cannot be completed: once for each reason, and then once a minute."""
        error = shown_reason(request.error or "")
        self._repeats.warn(
            _CUT_SHORT, (without_names(error),), "a response was cut short: {error}", error=error
        )

    def log(self, request: HTTPRequest) -> None:
        """Write the access log: one line per response."""
        if not self._access_log.wanted:
            return
        ours = cast(RegistryRequest, request)
        error = ours.error
        if error is None and request.code >= 400:
            error = request.code_message.decode("latin-1")
        self._access_log.write(
            AccessEntry(
                client=getattr(request.getClientAddress(), "host", None) or "-",
                method=shown(request.method),
                uri=shown(without_secrets(ours.target)),
                protocol=shown(request.clientproto),
                status=request.code,
                sent=request.sentLength,
                seconds=self.reactor.seconds() - ours.began,
                agent=shown(request.getHeader(b"user-agent") or b"-"),
                namespace=ours.namespace,
                outcome=None if ours.outcome is None else ours.outcome.value,
                error=None if error is None else shown_reason(error),
            )
        )

    def log_refusal(
        self,
        channel: RegistryChannel,
        refusal: Refusal,
        method: bytes,
        target: bytes,
        arriving: HTTPRequest | None,
    ) -> None:
        """Write the access log for the response to a malformed request. *arriving*: its parsed part."""
        if not self._access_log.wanted:
            return
        now = self.reactor.seconds()
        agent = None if arriving is None else arriving.getHeader(b"user-agent")
        self._access_log.write(
            AccessEntry(
                client=getattr(channel.getPeer(), "host", None) or "-",
                method=shown(method),
                uri=shown(without_secrets(target)),
                protocol="-",
                status=refusal.status,
                sent=len(refusal.body),
                seconds=now - getattr(arriving, "began", now),
                agent=shown(agent or b"-"),
                namespace=None,
                outcome=None,
                error=refusal.reason,
            )
        )
