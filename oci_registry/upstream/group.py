"""The hosts of an upstream: whoever can answers, in order of preference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oci_registry.spec.errors import BadGateway, Denied, GatewayTimeout, RegistryError, Unavailable
from oci_registry.upstream.failures import TimedOut, WrongAnswer
from oci_registry.upstream.health import Random
from oci_registry.upstream.host import NO, Host
from oci_registry.upstream.interfaces import NoHostLeft
from oci_registry.upstream.slots import Slot, Turn

T = TypeVar("T")

ROUNDS = 3
"""How often all hosts are asked for somebody patient."""
LONGEST_WAIT = 10.0
"""Seconds that somebody patient waits for a host that has asked for so much (``Retry-After``)."""
FIRST_PAUSE = 0.25
"""Seconds before a second attempt, twice as many before each further one."""
LONGEST_PAUSE = 15.0


@frozen
class Answer(Generic[T]):
    """What a host has answered. *slot* is its connection, to be released when it is needed no more."""

    host: Host
    value: T
    slot: Slot


def pause_after(failures: int, random: Random) -> float:
    """Return how many seconds to wait after so many failures in a row; none after none."""
    if failures <= 0:
        return 0.0
    pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 20))
    return pause * (0.5 + 0.5 * random())


def verdict(errors: Sequence[RegistryError]) -> RegistryError:
    """Return the error that stands for what all hosts have said.

    It is a no only if every one of them has said no: one that could not be asked might know better.
    What has happened now says more than that a host was left alone.
    """
    failures = [error for error in errors if not isinstance(error, NO)]
    asked = [error for error in failures if not isinstance(error, Unavailable)]
    # One host may let us read what another does not have.
    missing = [error for error in errors if not isinstance(error, Denied)]
    return (asked or failures or missing or list(errors))[0]


class HostGroup:
    """Ask hosts one after the other. *timeout*: seconds for each question, however many are asked."""

    def __init__(
        self, hosts: Sequence[Host], timeout: float, clock: IReactorTime, random: Random
    ) -> None:
        self.hosts = tuple(hosts)
        self.clock = clock
        self.random = random
        self._timeout = timeout

    async def ask(
        self,
        turn: Turn,
        repository: str,
        question: Callable[[Host, float], Awaitable[T]],
        *,
        patient: bool,
        finds_out: bool | None = None,
        avoiding: frozenset[str] = frozenset(),
        last: frozenset[str] = frozenset(),
        held: Answer[T] | None = None,
    ) -> Answer[T]:
        """Return the first answer, from none of the hosts *avoiding*, and from those in *last* last.

        *question* is put to a host, with the seconds in which it must be answered. *patient*: go round
        again if that may help. *finds_out*: wait for a host that was set aside and may be back, if no
        other can be asked (as somebody patient does). *held*: an earlier answer, which the caller is done
        with but for the slot; the same host gives the next one in its place. Raises what `verdict`
        makes of all errors, or `NoHostLeft`.
        """
        finds_out = patient if finds_out is None else finds_out
        deadline = self.clock.seconds() + self._timeout
        done = 0
        while True:
            done += 1
            hosts = self._order(turn, avoiding, last, finds_out)
            errors: list[RegistryError] = []
            for number, host in enumerate(hosts):
                open_to_ask = sum(1 for other in hosts[number:] if not other.health.wait(turn))
                left = deadline - self.clock.seconds()
                try:
                    value, slot = await host.ask(
                        turn,
                        repository,
                        lambda within, host=host: question(host, within),  # type: ignore[misc]
                        max(left, 0.1) / max(open_to_ask, 1),
                        held.slot if held is not None and held.host is host else None,
                    )
                except RegistryError as error:
                    errors.append(error)
                else:
                    return Answer(host, value, slot)
            pause = self._pause(turn, done, hosts, errors) if patient else None
            if pause is None or self.clock.seconds() + pause >= deadline:
                raise verdict(errors)
            await self.sleep(pause)

    def _order(
        self, turn: Turn, avoiding: frozenset[str], last: frozenset[str], finds_out: bool
    ) -> list[Host]:
        hosts = [host for host in self.hosts if host.name not in avoiding]
        if not hosts:
            raise NoHostLeft("none of the upstream's hosts is left to be asked")
        if not finds_out or any(not (h.health.wait(turn) or h.health.due(turn)) for h in hosts):
            # Nobody needs to wait for the answer of one that may still be down; but whether it can
            # send blobs again is not told by a ping.
            for host in hosts:
                if host.health.due(Turn.MANIFEST):
                    host.ping()
        return sorted(hosts, key=lambda host: host.name in last)

    def _pause(
        self, turn: Turn, done: int, hosts: Sequence[Host], errors: Sequence[RegistryError]
    ) -> float | None:
        """Return the seconds after which another round may help; None if it would not."""
        if done == ROUNDS:
            return None
        held = [host.health.wait(turn) for host in hosts if host.health.on_hold(turn)]
        if held and all(host.health.wait(turn) for host in hosts):
            return min(held) if min(held) <= LONGEST_WAIT else None
        passing = [
            error
            for error in errors
            if isinstance(error, BadGateway | GatewayTimeout)
            and not isinstance(error, WrongAnswer | TimedOut)
        ]
        return pause_after(done, self.random) if passing else None

    def wait(self, turn: Turn, avoiding: frozenset[str]) -> float:
        """Return the seconds until one of the hosts may be asked."""
        waits = [host.health.wait(turn) for host in self.hosts if host.name not in avoiding]
        return min(waits, default=0.0)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        if seconds > 0:
            await deferLater(self.clock, seconds)

    async def close(self) -> None:
        """Close the idle connections to all hosts."""
        for host in self.hosts:
            await host.close()
