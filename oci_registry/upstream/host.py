"""One host of an upstream, behind its circuit breakers and its connection limiter."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError, TooManyRequests
from oci_registry.upstream.breakers import Admission, Breakers
from oci_registry.upstream.errors import TargetFailed, TimedOut
from oci_registry.upstream.exchange import Exchange
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.limiter import ConnectionLimiter, Permit
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.requests import ApiRequest, Priority
from oci_registry.upstream.session import Session

T = TypeVar("T")

SHORTEST = 1.0
"""If fewer seconds are left after the wait in the queue, a timeout is not a failure of the host."""
PROBE_TIMEOUT = 10.0
"""Seconds for the response to a request in the background."""

Operation = Callable[[Exchange], Coroutine[Any, Any, T]]
"""Makes an API request to a host by an exchange, and returns the answer."""


class Host:
    """One host. All requests go through it, so that breakers and limits apply to all.

    *idle*: seconds without progress after which the body of a blob fails.
    """

    def __init__(
        self,
        session: Session,
        breakers: Breakers,
        limit: RateLimit,
        max_connections: int,
        idle: float,
        metrics: HostMetrics,
    ) -> None:
        self.name = session.host
        self.breakers = breakers
        self.limit = limit
        self.metrics = metrics
        self.reports = session.reports
        self._session = session
        self._idle = idle
        self._limiter = ConnectionLimiter(max_connections, metrics.waiting)
        self._clock: IReactorTime = session.clock
        self._probing: set[Deferred[Any]] = set()

    async def ask(
        self,
        request: ApiRequest,
        operation: Operation[T],
        within: float,
        *,
        wait: bool,
        priority: Priority | None = None,
        held: Permit | None = None,
        after: str = "",
    ) -> tuple[T, Permit]:
        """Send a request when a connection is free; return the response with its permit.

        The permit must be released. There are *within* seconds in all. *wait*: if a breaker is
        open, wait for the outcome of a probe, or be the probe. *held*: a permit of this host that
        the caller does not need any more; if this fails, the caller still has it. *after*: what
        happened before, for the log.
        """
        deadline = self._clock.seconds() + within
        priority = request.kind.priority if priority is None else priority
        admission, permit, waited = await self._enter(request, deadline, priority, held, wait=wait)
        try:
            left = deadline - self._clock.seconds()
            if left < min(waited, SHORTEST):
                admission.release()
                raise self._busy(request)
            exchange = Exchange(
                self._session, request, max(left, 0.1), self._idle, wait=wait, after=after
            )
            work = exchange.run(operation(exchange), self.metrics)
            short_of_time = left < waited
            answer = await admission.watch(
                self._short_of_time(request, work) if short_of_time else work
            )
        except BaseException:
            if permit is not held:
                permit.release()
            raise
        return answer, permit

    async def _enter(
        self,
        request: ApiRequest,
        deadline: float,
        priority: Priority,
        held: Permit | None,
        *,
        wait: bool,
    ) -> tuple[Admission, Permit, float]:
        """Return the admission of the breakers, a permit, and the seconds that this waited for it."""
        while True:
            admission = await self._admit(request, deadline, wait=wait)
            try:
                waiting_since = self._clock.seconds()
                permit = held or await self._permit(priority, request, deadline)
                if admission.probed or not self.breakers.wait(request.kind, request):
                    return admission, permit, self._clock.seconds() - waiting_since
                # The breakers may have changed while this request waited for its permit.
                if permit is not held:
                    permit.release()
            except BaseException:
                admission.release()
                raise

    async def _admit(self, request: ApiRequest, deadline: float, *, wait: bool) -> Admission:
        left = max(deadline - self._clock.seconds(), 0.0)
        return await self.breakers.admit(request.kind, request, left, wait=wait)

    async def _permit(self, priority: Priority, request: ApiRequest, deadline: float) -> Permit:
        left = max(deadline - self._clock.seconds(), 0.0)
        taken = self._limiter.take(priority, request.repository)
        try:
            return await taken.addTimeout(left, self._clock)
        except DeferredTimeout:
            raise self._busy(request) from None

    def _busy(self, request: ApiRequest) -> TooManyRequests:
        message = f"all connections to upstream {self.name} are in use"
        error = TooManyRequests.retry_after(message, 5)
        self.reports.failed(request, error)
        return error

    async def _short_of_time(self, request: ApiRequest, work: Coroutine[Any, Any, T]) -> T:
        """Return whether a timeout is no failure of the host, since most of the time was spent in the queue."""
        try:
            return await work
        except TimedOut as error:
            raise self._busy(request) from error
        except TargetFailed as failed:
            if isinstance(failed.error, TimedOut):
                raise self._busy(request) from failed.error
            raise

    @property
    def spare(self) -> bool:
        """Whether it has connections for requests that no client waits for."""
        return self._limiter.spare

    def probe(self, request: ApiRequest, operation: Operation[Any]) -> None:
        """Send a request in the background, if a probe of an open breaker is due."""
        if self.breakers.wait(request.kind, request):
            return
        after = "probe of an open circuit breaker"
        asked = self.ask(request, operation, PROBE_TIMEOUT, wait=False, after=after)
        probing = Deferred.fromCoroutine(asked)
        self._probing.add(probing)
        probing.addCallbacks(lambda answer: answer[1].release(), self._probe_failed)
        probing.addBoth(lambda _: self._probing.discard(probing))

    def _probe_failed(self, failure: Failure) -> None:
        # The outcome has been recorded already.
        failure.trap(RegistryError, CancelledError)

    @property
    def health(self) -> HostHealth:
        """How the host is doing."""
        limit, remaining = self.limit.known
        return HostHealth(
            self.name,
            available=self.breakers.available,
            breakers=tuple(self.breakers.opened()),
            paused=tuple(self.breakers.paused()),
            limit=limit,
            remaining=remaining,
            low=self.limit.low,
            waiting=self._limiter.waiting,
            connections=self._limiter.used,
            last_error=self.reports.last_error,
        )

    async def close(self) -> None:
        """Stop probing and close idle connections; requests in flight continue."""
        self.metrics.retire()
        for probing in list(self._probing):
            probing.cancel()
        await self._session.close()
