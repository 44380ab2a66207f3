"""The hosts of an upstream, asked in order of preference with failover to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Generic, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oci_registry.spec.errors import BadGateway, Denied, GatewayTimeout, RegistryError
from oci_registry.spec.units import in_seconds
from oci_registry.streams.breaker import Random, doubled
from oci_registry.upstream.errors import (
    ANSWERS,
    CircuitOpen,
    Lasting,
    LocalFailure,
    RateLimited,
    TimedOut,
    TooManyLookups,
    WrongAnswer,
)
from oci_registry.upstream.host import Host, Operation
from oci_registry.upstream.interfaces import BUSY, FREE, Capacity, NoHostLeft, Spare
from oci_registry.upstream.limiter import Permit
from oci_registry.upstream.requests import ApiRequest, Kind, Routing

T = TypeVar("T")

ROUNDS = 5
"""Rounds over all hosts for a patient caller."""
LONGEST_WAIT = 10.0
"""Seconds that a patient caller waits for a rate limited host at most (``Retry-After``)."""
FIRST_PAUSE = 0.25
"""Seconds before a second attempt, twice as many before each further one."""
LONGEST_PAUSE = 15.0


@frozen
class Answer(Generic[T]):
    """The response of a host. *permit* is its connection, which must be released."""

    host: Host
    value: T
    permit: Permit


def pause_after(failures: int, random: Random) -> float:
    """Return the seconds of the pause after a number of failures in a row."""
    if failures <= 0:
        return 0.0
    return doubled(FIRST_PAUSE, LONGEST_PAUSE, failures - 1) * (0.5 + 0.5 * random())


def verdict(errors: Sequence[RegistryError]) -> RegistryError:
    """Return the error for the failures of all hosts.

    It is negative only if the responses of all hosts are: a host that could not be asked might have
    the content. An actual failure is preferred to an open circuit breaker, and an unusable response
    is not. A denial by another host is added to the message of a failure, since it may be the
    cause.
    """
    failures = [error for error in errors if not isinstance(error, ANSWERS)]
    passing = [e for e in failures if not isinstance(e, CircuitOpen | WrongAnswer)]
    refused = [error for error in failures if isinstance(error, CircuitOpen)]
    # One host may grant access to what another does not have.
    missing = [error for error in errors if not isinstance(error, Denied)]
    chosen = (passing or refused or failures or missing or list(errors))[0]
    denied = next((error for error in errors if isinstance(error, Denied)), None)
    if denied is None or not failures:
        return chosen
    chosen = chosen.again()
    chosen.message = f"{chosen.message}; {denied.message}"
    chosen.args = (chosen.message,)
    return chosen


class HostGroup:
    """Asks hosts in order. *timeout*: seconds for each request, for all hosts together."""

    def __init__(
        self, hosts: Sequence[Host], timeout: float, clock: IReactorTime, random: Random
    ) -> None:
        self.hosts = tuple(hosts)
        self.clock = clock
        self.random = random
        self._timeout = timeout

    async def ask(
        self,
        request: ApiRequest,
        operation: Callable[[Host], Operation[T]],
        routing: Routing,
        held: Answer[T] | None = None,
    ) -> Answer[T]:
        """Return the first usable response.

        *operation* sends the request to a host. *held*: an earlier response, of which only the
        permit is needed; the same host gives the next one. Raises the `verdict` of all errors,
        `NoHostLeft`, or a `LocalFailure` at once.
        """
        deadline = self.clock.seconds() + self._timeout
        done, after = 0, ""
        while True:
            done += 1
            errors: list[RegistryError] = []
            hosts = self._order(request, operation, routing)
            for number, host in enumerate(hosts):
                left = deadline - self.clock.seconds()
                if errors and left <= 0 and host.breakers.is_open(request.kind, request):
                    break
                rest = hosts[number:]
                ready = sum(1 for other in rest if not self._wait(other, request))
                within = max(left, 0.1) / (ready or len(rest))
                if request.kind.paged:
                    within = self._timeout
                permit = held.permit if held is not None and held.host is host else None
                try:
                    value, permit = await host.ask(
                        request,
                        operation(host),
                        within * request.kind.time,
                        wait=routing.wait,
                        priority=routing.priority,
                        held=permit,
                        after=after,
                    )
                except LocalFailure:
                    raise
                except RegistryError as error:
                    errors.append(error)
                    after = f"after: {error.message}"
                else:
                    return Answer(host, value, permit)
            pause = self._pause(request, done, hosts, errors) if routing.patient else None
            if pause is None or self.clock.seconds() + pause >= deadline:
                try:
                    raise verdict(errors)
                finally:
                    # Else they and this frame, which is in their tracebacks, refer to each other.
                    errors.clear()
            await self.sleep(pause)

    @staticmethod
    def _wait(host: Host, request: ApiRequest) -> float:
        return host.breakers.wait(request.kind, request)

    def _order(
        self, request: ApiRequest, operation: Callable[[Host], Operation[T]], routing: Routing
    ) -> list[Host]:
        """Return the hosts to ask, with those whose circuit breaker is open at the end.

        If another host can respond, or something stale can be served, nobody waits for a host that
        may be down: it is probed in the background. A request for a blob is too large for that, and
        is its own probe.
        """
        hosts = [host for host in self.hosts if host.name not in routing.excluded]
        if not hosts:
            raise NoHostLeft("all hosts of the upstream have been tried")
        is_open = {host: host.breakers.is_open(request.kind, request) for host in hosts}
        if request.kind is Kind.BLOB:
            is_open = {host: yes and self._wait(host, request) > 0 for host, yes in is_open.items()}
        elif not (routing.wait and all(is_open.values())):
            for host, yes in is_open.items():
                if yes:
                    host.probe(request, operation(host))
        return sorted(hosts, key=lambda host: (is_open[host], host.name in routing.last))

    def _pause(
        self,
        request: ApiRequest,
        done: int,
        hosts: Sequence[Host],
        errors: Sequence[RegistryError],
    ) -> float | None:
        """Return the seconds after which another round may help; None if it would not."""
        if done == ROUNDS:
            return None
        pauses = [
            max(
                host.breakers.pause(request.kind, request),
                # A server that the host redirects to may be rate limiting too.
                error.seconds if isinstance(error, RateLimited) else 0.0,
            )
            for host, error in zip_longest(hosts, errors)
        ]
        if pauses and all(pauses):
            return min(pauses) if min(pauses) <= LONGEST_WAIT else None
        passing = [
            error
            for error in errors
            if isinstance(error, BadGateway | GatewayTimeout)
            and not isinstance(error, WrongAnswer | TimedOut | Lasting | TooManyLookups)
        ]
        if passing:
            return pause_after(done, self.random)
        paused = [pause for pause in pauses if pause]
        return min(paused) if paused and min(paused) <= LONGEST_WAIT else None

    def wait(self, request: ApiRequest, excluded: frozenset[str]) -> float:
        """Return the seconds until one of the hosts may be asked."""
        waits = [self._wait(host, request) for host in self.hosts if host.name not in excluded]
        return min(waits, default=0.0)

    def spare(self, request: ApiRequest, reserve: float, under_way: int) -> Spare:
        """Return whether a request that no client waits for may be sent to the host that would get it.

        *reserve*: the part of its rate limit that is reserved for clients. *under_way*: such requests
        that have not been answered yet. Until a host has answered, only one is sent: it may announce a
        limit.
        """
        asked = [h for h in self.hosts if not h.breakers.is_open(request.kind, request)]
        host = (asked or self.hosts)[0]
        blob = request.kind is Kind.BLOB
        left = host.limit.beside(reserve, blob=blob)
        if left == 0:
            return Spare(Capacity.RESERVED, f"{host.name}: {host.limit.describe(reserve)}")
        pause = host.breakers.pause(request.kind, request)
        if pause > LONGEST_WAIT:
            return Spare(Capacity.RESERVED, f"{host.name} is rate limited for {in_seconds(pause)}")
        if under_way and not blob:
            # The host may not have counted these yet, or not have announced any limit.
            unsure = not host.limit.heard if left is None else under_way >= left
        else:
            unsure = False
        return BUSY if pause or unsure or not host.spare else FREE

    async def sleep(self, seconds: float) -> None:
        """Wait for *seconds*."""
        if seconds > 0:
            await deferLater(self.clock, seconds)

    async def close(self) -> None:
        """Close the idle connections to all hosts."""
        for host in self.hosts:
            await host.close()
