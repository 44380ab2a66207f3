"""Circuit breakers and pauses of one host: by kind of request, repository and subject.

A failure counts for its own subject first; for the repository only if two of its subjects fail; for
the kind only if two repositories fail, or if no connection could be made. The target of a redirect,
and a token server, have their own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import islice
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError, TooManyRequests
from oci_registry.streams.breaker import CircuitBreaker, Random
from oci_registry.upstream.breaker_keys import (
    KINDS,
    Endpoint,
    Key,
    describe,
    keys_of,
    source_of,
)
from oci_registry.upstream.errors import (
    ANSWERS,
    CircuitOpen,
    Limited,
    LocalFailure,
    TargetFailed,
    TimedOut,
    TooManyLookups,
    Unreachable,
    WrongAnswer,
)
from oci_registry.upstream.health import MOST, OpenBreaker, Paused
from oci_registry.upstream.keyed_breakers import BreakerTable, KeyedBreaker
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.pauses import Pauses
from oci_registry.upstream.reports import BreakerLog
from oci_registry.upstream.requests import ApiRequest, Kind

T = TypeVar("T")


class Admission:
    """An admitted request; its holder records the outcome, or releases it without one.

    *probed*: the open circuit breakers that it is a probe of.
    """

    def __init__(
        self,
        breakers: Breakers,
        endpoint: Endpoint,
        request: ApiRequest,
        probed: list[KeyedBreaker],
    ) -> None:
        self.probed = probed
        self._breakers = breakers
        self._endpoint = endpoint
        self._request = request
        for keyed in probed:
            keyed.breaker.begin_probe(self, source_of(keyed.key, request))

    async def watch(self, work: Awaitable[T]) -> T:
        """Wait for the request's outcome and record it; raises what *work* raises.

        A `TargetFailed` is a success here, and its own error is raised.
        """
        try:
            value = await work
        except TargetFailed as failed:
            self.record_success()
            raise failed.error from None
        except RegistryError as error:
            self.record(error)
            raise
        finally:
            self.release()
        self.record_success()
        return value

    def record(self, error: RegistryError) -> None:
        """Record an error."""
        if isinstance(error, Limited):
            self._breakers.record_limit(self._endpoint, self._request, error.seconds)
        elif isinstance(error, (*ANSWERS, WrongAnswer)):
            self.record_success()
        elif not isinstance(error, LocalFailure | CircuitOpen | TooManyRequests | TooManyLookups):
            self._breakers.record_failure(self._endpoint, self._request, error, self)

    def record_success(self) -> None:
        """Record a response of any kind."""
        self._breakers.record_success(self._endpoint, self._request)

    def release(self) -> None:
        """End the request. Idempotent."""
        for keyed in self.probed:
            keyed.end_probe(self)


@define(eq=False)
class Breakers:
    """All circuit breakers and pauses of one host, and of the servers that it redirects to.

    *alternatives*: there are other hosts. Then every failure counts for subject, repository and
    kind, since the others can respond, and this host is still asked for what they do not have.
    """

    _host: str
    _clock: IReactorTime
    _random: Random
    _metrics: HostMetrics
    _log: BreakerLog
    _alternatives: bool = field(default=False, kw_only=True)
    _limits: UpstreamLimits = field(default=UpstreamLimits(), kw_only=True)
    _breakers: BreakerTable = field(init=False)
    _pauses: Pauses = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._breakers = BreakerTable(self._clock, self._random, self._limits)
        self._pauses = Pauses(self._clock, self._limits, self._paused)
        self._metrics.available(True)

    def __len__(self) -> int:
        return len(self._breakers)

    # -- admission

    def wait(self, endpoint: Endpoint, request: ApiRequest) -> float:
        """Return the seconds until a request may be sent; 0 if it may be now."""
        waits = (keyed.breaker.wait for keyed in self._path(endpoint, request))
        return max(self.pause(endpoint, request), *waits, 0.0)

    def pause(self, endpoint: Endpoint, request: ApiRequest) -> float:
        """Return the seconds that are left of a pause requested by the server."""
        return max((left for left, _ in self._pauses.of(endpoint, request)), default=0.0)

    def is_open(self, endpoint: Endpoint, request: ApiRequest) -> bool:
        """Return whether a breaker of the request is open, or half-open."""
        return any(keyed.breaker.is_open for keyed in self._path(endpoint, request))

    async def admit(
        self, endpoint: Endpoint, request: ApiRequest, within: float, *, wait: bool
    ) -> Admission:
        """Admit a request if none of its breakers is open, or if it may probe those that are.

        Without *wait*, there is one probe at a time, and only when it is due. With *wait*, the
        caller has no alternative: it probes at once, or waits for the outcome of a probe, *within*
        seconds, and fails if that fails. Raises `CircuitOpen`, `Limited`, `TimedOut`, or the error
        of a probe.
        """
        deadline = self._clock.seconds() + within
        while True:
            self._check_pauses(endpoint, request)
            found = [keyed for keyed in self._path(endpoint, request) if keyed.breaker.is_open]
            closed = [
                keyed
                for keyed in found
                if not keyed.breaker.may_probe(source_of(keyed.key, request), early=wait)
            ]
            if not closed:
                return Admission(self, endpoint, request, found)
            if not wait:
                raise self._refusal(closed[0].breaker)
            await self._outcome(closed[0], deadline)

    async def _outcome(self, keyed: KeyedBreaker, deadline: float) -> None:
        left = max(deadline - self._clock.seconds(), 0.0)
        try:
            await keyed.probed.wait().addTimeout(left, self._clock)
        except DeferredTimeout:
            reason = keyed.breaker.reason
            raise TimedOut(
                f"upstream {self._host} did not answer in time; it failed before: {reason}"
            ) from None
        except RegistryError as error:
            raise error.again() from None

    def _check_pauses(self, endpoint: Endpoint, request: ApiRequest) -> None:
        for left, key in self._pauses.of(endpoint, request):
            where = "" if isinstance(key[0], Kind) else f": {key[0]}"
            raise Limited(f"upstream {self._host} rate limits requests{where}", left)

    def _refusal(self, breaker: CircuitBreaker) -> CircuitOpen:
        seconds = int(breaker.pause) + 1
        return CircuitOpen(
            f"upstream {self._host}: the circuit breaker is open for {seconds} s: {breaker.reason}",
            headers={"Retry-After": str(seconds)},
        )

    # -- for operators

    @property
    def available(self) -> bool:
        """Whether no circuit breaker of a kind of requests is open."""
        kinds = (self._breakers.get(key) for key in KINDS)
        return not any(keyed is not None and keyed.breaker.is_open for keyed in kinds)

    def opened(self) -> list[OpenBreaker]:
        """Return the circuit breakers that are open, at most `MOST`."""
        found = (keyed for keyed in self._breakers.kept() if keyed.breaker.is_open)
        return [
            OpenBreaker(
                describe(keyed.key),
                keyed.breaker.state.value,
                keyed.breaker.reason or "",
                keyed.breaker.open_for,
                keyed.breaker.pause,
            )
            for keyed in islice(found, MOST)
        ]

    def paused(self) -> list[Paused]:
        """Return what is rate limited now, at most `MOST`."""
        return [Paused(describe(key), left) for key, left in self._pauses.current(MOST)]

    # -- outcomes

    def record_success(self, endpoint: Endpoint, request: ApiRequest) -> None:
        """Record that a request got a response."""
        path = self._path(endpoint, request)
        for keyed in path:
            if keyed.breaker.is_open:
                self._log.change(keyed.key, "circuit breaker closed: it answers again")
            keyed.close()
            if len(keyed.key) > 1:
                self._breakers.pop(keyed.key, None)
        self._pauses.record_success(endpoint, request)
        if path:
            self._show()

    def record_failure(
        self, endpoint: Endpoint, request: ApiRequest, error: RegistryError, probe: object = None
    ) -> None:
        """Record that a request could not be sent, or failed; *probe*: its admission.

        A request that began before a breaker opened does not prolong the pause of that breaker.
        """
        conclusive = isinstance(error, Unreachable)
        # That a host cannot be reached says nothing about a repository.
        for key in keys_of(endpoint, request)[: 1 if conclusive else 3]:
            keyed = self._breakers.take(key)
            was_open = keyed.breaker.is_open
            may_open = was_open or keyed.count(
                source_of(key, request), conclusive=conclusive or self._alternatives
            )
            counts = keyed.breaker.record_failure(
                error.message,
                probe=probe,
                at_once=isinstance(error, TimedOut),
                may_open=may_open,
            )
            if counts and was_open:
                keyed.probed.fail(error)
            elif counts:
                text = "circuit breaker open for {seconds:.0f} s: {error}"
                self._log.change(key, text, seconds=keyed.breaker.pause, error=error.message)
        self._show()

    def record_limit(self, endpoint: Endpoint, request: ApiRequest, seconds: float) -> None:
        """Record that the server has rate limited such requests for *seconds*."""
        self._pauses.record_limit(endpoint, request, seconds)

    def _paused(self, key: Key, until: float) -> None:
        seconds = until - self._clock.seconds()
        self._log.change(key, "rate limited, paused for {seconds:.0f} s", seconds=seconds)
        if len(key) == 1 and isinstance(key[0], Kind):
            self._metrics.paused(until)

    def _show(self) -> None:
        self._metrics.available(self.available)

    def _path(self, endpoint: Endpoint, request: ApiRequest) -> list[KeyedBreaker]:
        """Return the breakers of a request, from the kind to the subject."""
        found = (self._breakers.get(key) for key in keys_of(endpoint, request))
        return [keyed for keyed in found if keyed is not None]
